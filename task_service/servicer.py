"""TaskService: the methods of each of its parts."""

from shared.resources.pagination import Pager
from task_service.attempts.rules import AttemptRules
from task_service.attempts.servicer import AttemptMethods
from task_service.claims.rules import ClaimRules
from task_service.claims.servicer import ClaimMethods
from task_service.graph.rules import GraphRules
from task_service.graph.servicer import GraphMethods
from task_service.heartbeats.rules import HeartbeatRules
from task_service.heartbeats.servicer import HeartbeatMethods
from task_service.inputs.rules import InputRules
from task_service.inputs.servicer import InputMethods
from task_service.leases.rules import LeaseRules
from task_service.leases.servicer import LeaseMethods
from task_service.tasks.rules import TaskRules
from task_service.tasks.servicer import TaskMethods
from task_service.tasks.waiting import WaitRules


class TaskServicer(
    TaskMethods,
    ClaimMethods,
    LeaseMethods,
    HeartbeatMethods,
    GraphMethods,
    AttemptMethods,
    InputMethods,
):
    """All of them."""

    def __init__(
        self,
        tasks: TaskRules,
        waits: WaitRules,
        claims: ClaimRules,
        leases: LeaseRules,
        graph: GraphRules,
        heartbeats: HeartbeatRules,
        attempts: AttemptRules,
        inputs: InputRules,
        pager: Pager,
    ) -> None:
        self.tasks, self.waits, self.pager = tasks, waits, pager
        self.claims, self.leases, self.graph = claims, leases, graph
        self.heartbeats, self.attempts, self.inputs = heartbeats, attempts, inputs
