"""Members: added, changed and listed by admins; each user once in a project, never the owner."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from shared.errors import Reason
from tandem.agent.v1.member_service_pb2 import (
    MEMBER_ROLE_ADMIN,
    MEMBER_ROLE_EDITOR,
    MEMBER_ROLE_UNSPECIFIED,
    MEMBER_ROLE_VIEWER,
    AddMemberRequest,
    ListMembersRequest,
    ListMembersResponse,
    Member,
    UpdateMemberRequest,
)
from tandem.agent.v1.project_service_pb2 import (
    PROJECT_STATUS_ARCHIVED,
    Project,
    UpdateProjectRequest,
)
from tests.refusals import refused
from tests.world import Client, User, World

ROLES = (MEMBER_ROLE_VIEWER, MEMBER_ROLE_EDITOR, MEMBER_ROLE_ADMIN)


async def add(
    client: Client, project: Project, user_id: UUID, role: Any = MEMBER_ROLE_VIEWER
) -> Member:
    member = Member(project_id=project.id, user_id=str(user_id), role=role)
    added: Member = await client.members.AddMember(AddMemberRequest(member=member))
    return added


async def update(client: Client, member: Member, *paths: str, **fields: Any) -> Member:
    key = {"project_id": member.project_id, "user_id": member.user_id}
    request = UpdateMemberRequest(member=Member(**{**key, **fields}))
    request.update_mask.paths.extend(paths)
    updated: Member = await client.members.UpdateMember(request)
    return updated


async def listed(client: Client, project: Project, **fields: Any) -> ListMembersResponse:
    request = ListMembersRequest(project_id=project.id, **fields)
    answer: ListMembersResponse = await client.members.ListMembers(request)
    return answer


async def archive(owner: User, project: Project) -> None:
    change = Project(id=project.id, status=PROJECT_STATUS_ARCHIVED)
    await owner.projects.UpdateProject(UpdateProjectRequest(project=change))


@pytest.mark.parametrize("role", ROLES)
async def test_a_user_becomes_a_member(world: World, role: Any) -> None:
    alice, bob = await world.user(), await world.user("Bob")
    project = await alice.project()
    member = await add(alice, project, bob.id, role)
    assert (member.project_id, member.user_id) == (project.id, str(bob.id))
    assert (member.role, member.username, member.revision) == (role, "Bob", 1)
    assert member.created_at == member.updated_at
    assert list((await listed(alice, project)).members) == [member]


async def test_an_admin_adds_members(world: World) -> None:
    alice, bob, carol = [await world.user() for _ in range(3)]
    project = await alice.project()
    await add(alice, project, bob.id, MEMBER_ROLE_ADMIN)
    assert (await add(bob, project, carol.id, MEMBER_ROLE_ADMIN)).role == MEMBER_ROLE_ADMIN


async def test_only_active_users_become_members(world: World) -> None:
    alice, inactive = await world.user(), await world.user(active=False)
    project = await alice.project()
    for user_id in (inactive.id, uuid4()):
        found = await refused(add(alice, project, user_id), Reason.USER_NOT_FOUND)
        assert found.metadata == {"user_id": str(user_id)}
    assert await world.value("SELECT count(*) FROM project_members") == 0


async def test_nobody_is_a_member_twice_nor_the_owner_once(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    project, other = await alice.project(), await alice.project()
    member = await add(alice, project, bob.id)
    for user_id in (bob.id, alice.id):
        call = add(alice, project, user_id, MEMBER_ROLE_ADMIN)
        found = await refused(call, Reason.ALREADY_MEMBER)
        assert found.metadata == {"project_id": project.id, "user_id": str(user_id)}
    assert list((await listed(alice, project)).members) == [member]
    await add(alice, other, bob.id)


async def test_a_member_needs_a_project_a_user_and_a_role(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    whole: dict[str, Any] = {
        "project_id": project.id,
        "user_id": str(uuid4()),
        "role": MEMBER_ROLE_VIEWER,
    }
    for name in whole:
        member = Member(**{key: value for key, value in whole.items() if key != name})
        call = alice.members.AddMember(AddMemberRequest(member=member))
        found = await refused(call, Reason.INVALID_FIELD)
        assert f"member.{name}" in found.fields


async def test_members_are_added_to_projects_that_exist_and_are_active(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    project = await alice.project()
    gone = Project(id=str(uuid4()))
    await refused(add(alice, gone, bob.id), Reason.PROJECT_NOT_FOUND)
    await archive(alice, project)
    await refused(add(alice, project, bob.id), Reason.PROJECT_NOT_ACTIVE)


async def test_a_role_changes(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    member = await add(alice, await alice.project(), bob.id)
    changed = await update(alice, member, "role", role=MEMBER_ROLE_ADMIN, revision=1)
    assert (changed.role, changed.revision) == (MEMBER_ROLE_ADMIN, 2)
    assert changed.username == member.username
    assert changed.created_at == member.created_at
    assert changed.updated_at.ToDatetime() > member.updated_at.ToDatetime()
    # An admin may give up what it is, which is the only way to a lower role besides another admin.
    assert (await update(bob, member, "*", role=MEMBER_ROLE_EDITOR)).role == MEMBER_ROLE_EDITOR
    await refused(update(bob, member, role=MEMBER_ROLE_ADMIN), Reason.INSUFFICIENT_ROLE)


async def test_an_update_that_changes_nothing_leaves_the_revision(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    member = await add(alice, await alice.project(), bob.id, MEMBER_ROLE_EDITOR)
    assert await update(alice, member, role=MEMBER_ROLE_EDITOR) == member
    assert await update(alice, member) == member
    # What was read can be sent back.
    assert await update(alice, member, role=member.role, revision=1, username="Eve") == member


async def test_an_update_is_refused_with_its_reason(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    project = await alice.project()
    member = await add(alice, project, bob.id)
    found = await refused(update(alice, member, role=2, revision=2), Reason.REVISION_MISMATCH)
    assert found.metadata == {"revision": "1"}
    await refused(update(alice, member, "user_id", role=2), Reason.INVALID_UPDATE_MASK)
    unset = update(alice, member, "role", role=MEMBER_ROLE_UNSPECIFIED)
    assert "member.role" in (await refused(unset, Reason.INVALID_FIELD)).fields
    for name in ("project_id", "user_id"):
        for wrong in ("", "x"):
            call = update(alice, member, **{name: wrong, "role": MEMBER_ROLE_EDITOR})
            assert f"member.{name}" in (await refused(call, Reason.INVALID_FIELD)).fields
    missing = Member(project_id=project.id, user_id=str(alice.id))
    found = await refused(update(alice, missing, role=2), Reason.MEMBER_NOT_FOUND)
    assert found.metadata == {"project_id": project.id, "user_id": str(alice.id)}
    await archive(alice, project)
    await refused(update(alice, member, role=2), Reason.PROJECT_NOT_ACTIVE)
    assert list((await listed(alice, project)).members) == [member]


async def test_members_are_listed_page_by_page(world: World) -> None:
    alice = await world.user()
    project, other = await alice.project(), await alice.project()
    users = [await world.user() for _ in range(5)]
    members = [await add(alice, project, user.id, ROLES[n % 3]) for n, user in enumerate(users)]
    await add(alice, other, users[0].id)
    for order, expected in (("created_at", members), ("", members[::-1])):
        found: list[Member] = []
        token = ""
        while True:
            fields = {"page_size": 2, "page_token": token, "order_by": order}
            page = await listed(alice, project, include_total=True, **fields)
            assert page.total_size == 5
            found += page.members
            token = page.next_page_token
            if not token:
                break
        assert found == expected
    editors = await listed(alice, project, roles=[MEMBER_ROLE_EDITOR, MEMBER_ROLE_ADMIN])
    assert list(editors.members) == [members[4], members[2], members[1]]


async def test_who_reads_the_project_lists_its_members(world: World) -> None:
    alice, bob, eve = [await world.user() for _ in range(3)]
    project = await alice.project()
    member = await add(alice, project, bob.id)
    agent = await alice.agent(project)
    for scope, reason in (
        ("API_KEY_SCOPE_READ_PROJECT", None),
        ("API_KEY_SCOPE_MANAGE_TASKS", Reason.SCOPE_MISSING),
    ):
        key = await alice.api_key(agent, scopes=[scope])
        call = listed(await alice.exchanged(key.secret), project)
        if reason:
            await refused(call, reason)
        else:
            assert list((await call).members) == [member]
    assert list((await listed(bob, project)).members) == [member]
    await refused(listed(eve, project), Reason.NOT_PROJECT_OWNER)
