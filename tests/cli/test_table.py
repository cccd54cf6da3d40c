"""Tables as plain text."""

from cli.table import table

HEADINGS = ("", "Where", "Found")


def lines(*rows: tuple[str, ...], width: int = 80) -> list[str]:
    return list(table(HEADINGS, rows, width))


def test_columns_are_as_wide_as_their_cells() -> None:
    assert lines(("!", "users.email", "text"), ("", "a", "integer")) == [
        "     Where         Found",
        " ─────────────────────────",
        " !   users.email   text",
        "     a             integer",
    ]


def test_a_cell_may_have_several_lines() -> None:
    assert lines(("", "users", "two rows\n  one\n  another"))[2:] == [
        "     users   two rows",
        "               one",
        "               another",
    ]


def test_what_is_too_long_for_the_width_is_wrapped() -> None:
    made = lines(("!", "x" * 30, "found as words that go on"), width=40)
    assert max(map(len, made)) <= 40
    words = "".join("".join(line.split()) for line in made[2:])
    assert words.count("x") == 30
    assert words.replace("x", "").replace("!", "") == "foundaswordsthatgoon"


def test_a_narrow_terminal_gets_the_table_anyhow() -> None:
    assert [line.split() for line in lines(("", "ab", "cd"), width=1)[-2:]] == [
        ["a", "c"],
        ["b", "d"],
    ]


def test_control_characters_do_not_reach_the_terminal() -> None:
    (row,) = lines(("", "\x1b[31mred\x07", "é"))[2:]
    assert row == r"     \x1b[31mred\x07   é"
