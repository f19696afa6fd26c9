"""Files of prompts: what a line becomes, that seeds and names hang on its place alone, and every bad line by number."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sjd2.prompts import Picture, parse_size, read_prompts


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_prompt_a_line(tmp_path: Path) -> None:
    """Blank lines are nobody's; line ends and a byte order mark belong to no prompt."""
    text = "\ufeffa dwarf\r\n\n  \t\n  ein Zwerg mit Bärenfell  \n{no JSON}"
    assert read_prompts(write(tmp_path, "p.txt", text), seed=7) == [
        Picture(1, "000001", "a dwarf", 7),
        Picture(4, "000002", "ein Zwerg mit Bärenfell", 8),
        Picture(5, "000003", "{no JSON}", 9),
    ]


def test_json_lines(tmp_path: Path) -> None:
    text = """{"prompt": "a dwarf", "seed": -3, "id": "dwarf-1.b", "size": "768x512"}

{"prompt": "two\\nlines", "seed": null}
{"prompt": "an elf", "id": "elf"}
"""
    assert read_prompts(write(tmp_path, "p.jsonl", text), seed=100) == [
        Picture(1, "dwarf-1.b", "a dwarf", -3, (768, 512)),
        Picture(3, "000002", "two\nlines", 101),
        Picture(4, "elf", "an elf", 102),
    ]


def test_several_pictures_of_each(tmp_path: Path) -> None:
    text = '{"prompt": "a"}\n{"prompt": "b", "seed": 50, "id": "bee"}\n{"prompt": "c"}\n'
    found = read_prompts(write(tmp_path, "p.jsonl", text), seed=1, count=2)
    assert [(p.id, p.seed) for p in found] == [
        ("000001-1", 1), ("000001-2", 2), ("bee-1", 50), ("bee-2", 51), ("000003-1", 5), ("000003-2", 6)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"prompt": "a"', "not JSON (Expecting ',' delimiter at column 15)"),
        ("a dwarf", "not JSON (Expecting value at column 1)"),
        ('["a"]', 'must be an object such as {"prompt": "a dwarf"}'),
        ("{}", "prompt must be a text"),
        ('{"prompt": 3}', "prompt must be a text"),
        ('{"prompt": " "}', "prompt must be a text"),
        ('{"prompt": "\\ud800"}', "prompt must be Unicode text, it holds half a surrogate pair"),
        ('{"prompt": "a", "sede": 3, "x": 1}', "unknown field 'sede', 'x'; known are prompt, seed, id, size"),
        ('{"prompt": "a", "seed": 1.0}', "seed must be a whole number, got 1.0"),
        ('{"prompt": "a", "seed": true}', "seed must be a whole number, got True"),
        ('{"prompt": "a", "seed": 9223372036854775808}', "seed must be a number of 64 bits, got 9223372036854775808"),
        ('{"prompt": "a", "id": "../a"}', "id must be a file's name in letters, digits and _.- (100 at most)"),
        ('{"prompt": "a", "id": ".a"}', "id must be a file's name"),
        ('{"prompt": "a", "id": 7}', "id must be a file's name"),
        ('{"prompt": "a", "id": ""}', "id must be a file's name"),
        ('{"prompt": "a", "id": "FINE"}', "id 'FINE' is that of line 1"),
        ('{"prompt": "a", "size": "12"}', "size must be WIDTHxHEIGHT in pixels, such as 768x512, got '12'"),
        ('{"prompt": "a", "size": [1, 2]}', "size must be WIDTHxHEIGHT in pixels, such as 768x512, got '[1, 2]'"),
        (b'{"prompt": "\xff"}', "not UTF-8 text (byte 13)"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, line: str | bytes, complaint: str) -> None:
    raw = line if isinstance(line, bytes) else line.encode()
    path = write(tmp_path, "p.jsonl", b'{"prompt": "a", "id": "fine"}\n\n' + raw + b'\n{"prompt": "b"}\n')
    with pytest.raises(ValueError, match="^" + re.escape(f"{path}: line 3: {complaint}") + "[^;]*$"):
        read_prompts(path)


def test_all_bad_lines_are_named_at_once_up_to_ten(tmp_path: Path) -> None:
    path = write(tmp_path, "p.jsonl", "{}\n" * 2 + '{"prompt": "a"}\n' + "[]\n" * 11)
    with pytest.raises(ValueError, match=r"line 1: .*; line 2: .*; line 4: .*line 11: .*; and 3 more$"):
        read_prompts(path)


def test_a_repaired_line_does_not_move_the_seeds_of_others(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="line 1: not UTF-8 text"):
        read_prompts(write(tmp_path, "p.txt", b"\xff\nb\n"))
    assert read_prompts(write(tmp_path, "p.txt", "ä\nb\n"))[1] == Picture(2, "000002", "b", 1)


def test_an_id_can_meet_the_number_of_another_prompt(tmp_path: Path) -> None:
    path = write(tmp_path, "p.jsonl", '{"prompt": "a", "id": "000002"}\n\n{"prompt": "b"}\n')
    with pytest.raises(ValueError, match=r"line 3: id '000002' is that of line 1$"):
        read_prompts(path)


def test_no_prompts_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"p\.txt: there are no prompts in it"):
        read_prompts(write(tmp_path, "p.txt", "\n \n"))
    with pytest.raises(FileNotFoundError):
        read_prompts(tmp_path / "q.txt")


def test_the_seed_of_the_run_has_an_end_too(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"line 2: seed must be a number of 64 bits, got 9223372036854775808"):
        read_prompts(write(tmp_path, "p.txt", "a\nb\n"), seed=2**63 - 1)


def test_sizes() -> None:
    assert parse_size(" 768X512 ") == (768, 512)
    for text in ("768", "768*512", "x512", "-1x4", "1.5x2", ""):
        with pytest.raises(ValueError, match="size must be WIDTHxHEIGHT"):
            parse_size(text)
