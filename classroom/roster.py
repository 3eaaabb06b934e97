"""The class list, and what Moodle and Canvas send and take: archives of submissions, and tables of grades.

A class list is a text file with one identifier a line, or a table with a header: a grading worksheet of Moodle, a
gradebook of Canvas, or one with the columns identifier, name and email. COURSE/roster.csv keeps it.
"""

from __future__ import annotations

import csv
import io
import re
import shutil
import stat
import struct
import sys
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath

from collecting import MOODLE, NOTEBOOK, identifier
from course import check_student
from submissions import MAX_BYTES

SAME_TIME = timedelta(minutes=1)
NO_DATE = (1980, 1, 1, 0, 0, 0)  # the first that a zip can say; tools take it for an entry that says none, as month 0
CANVAS = re.compile(r"(?P<name>[^_]+)(?:_LATE)?_(?P<canvas>\d+)_\d+_(?P<file>.+)")


@dataclass(frozen=True)
class Person:
    """Somebody on the class list. canvas: the number that Canvas knows the person by."""

    identifier: str
    name: str = ""
    email: str = ""
    canvas: str = ""


def read_table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Header and rows of a CSV file, comma, semicolon or tab between its columns."""
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    first = text.split("\n", 1)[0]
    reader = csv.DictReader(io.StringIO(text), delimiter=max(",;\t", key=first.count), restval="")
    return [name or "" for name in reader.fieldnames or ()], [
        {name or "": value for name, value in row.items() if isinstance(value, str)} for row in reader
    ]


def read_roster(path: Path) -> list[Person]:
    """Everybody on a class list. Raises ValueError if there is nobody, one twice, or a name that names no folder."""
    header, rows = read_table(path)
    if len(header) < 2:
        text = path.read_text(encoding="utf-8-sig")
        people = [Person(check_student(line.strip())) for line in text.splitlines() if line.strip()]
    else:
        people = [person for person in map(_person, rows) if person is not None]
    if not people:
        raise ValueError(f"there is no identifier in {path}")
    names = [person.identifier for person in people]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"{path} has {', '.join(sorted(twice))} more than once")
    return people


def _person(row: Mapping[str, str]) -> Person | None:
    """One row of a table: Moodle's, Canvas's or our own; None for a row that is no student's."""
    of = {name.strip().lower(): value.strip() for name, value in row.items()}
    if "sis login id" in of or "sis user id" in of:  # Canvas
        if not of.get("id") or of["student"].lower() in ("student, test", "points possible"):
            return None
        last, _, first = of["student"].partition(", ")
        chosen = of.get("sis login id") or of.get("sis user id") or of["id"]
        return Person(identifier(chosen), f"{first} {last}".strip(), of.get("email", ""), of["id"])
    name, email = of.get("full name") or of.get("name", ""), of.get("email address") or of.get("email", "")
    if not name and ("first name" in of or "last name" in of):
        name = f"{of.get('first name', '')} {of.get('last name', '')}".strip()
    own = "" if of.get("identifier", "").startswith("Participant") else of.get("identifier", "")
    chosen = own or of.get("id number") or of.get("username") or email.partition("@")[0] or name
    return Person(identifier(chosen), name, email, of.get("canvas", "")) if chosen else None


def save_roster(root: Path, people: Sequence[Person]) -> Path:
    """Write root/roster.csv."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "roster.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Person)])
        writer.writeheader()
        writer.writerows(asdict(person) for person in people)
    return root / "roster.csv"


def roster(root: Path) -> list[Person]:
    """Everybody in root/roster.csv; nobody if there is none."""
    return read_roster(root / "roster.csv") if (root / "roster.csv").exists() else []


def find_person(people: Sequence[Person], **known: str) -> Person | None:
    """The one person with that identifier, email, canvas number or name, in that order; None if not exactly one."""
    for key in ("identifier", "email", "canvas", "name"):
        wanted = _plain(known.get(key, ""))
        same = [person for person in people if wanted and _plain(getattr(person, key)) == wanted]
        if len(same) == 1:
            return same[0]
    return None


def _plain(name: str) -> str:
    return " ".join(name.casefold().split())


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)


def collect(
    root: Path,
    archive: Path,
    set_name: str,
    worksheet: Path | None = None,
    tell: Callable[[str], object] = _to_stderr,
) -> tuple[dict[str, list[str]], bool]:
    """Unpack an archive of Moodle or Canvas, or of folders named after students, into root/submissions.

    Gives each student's submission the time that its file has in the archive, unless all have the same: then it is the
    time of the download. An entry that cannot be read is named and passed over, and leaves what was there before.

    Parameters
    ----------
    root
        The course; its roster decides who a name, an e-mail address or a number stands for.
    archive
        The zip, as it was downloaded.
    set_name
        The set that everything in it belongs to.
    worksheet
        Moodle's grading worksheet of this assignment, needed where two students have the same name.
    tell
        Is given a line for each entry that is passed over, or has no date.

    Returns
    -------
    found, own_times
        The files of each student, and whether they have times of their own.

    Raises
    ------
    ValueError
        If the archive cannot be read, or two people stand for one student. Nothing is unpacked then.
    """
    people, numbers = roster(root), {}
    if worksheet is not None:
        for row in read_table(worksheet)[1]:
            person = _person(row)
            if person:
                numbers[row.get("Identifier", "").removeprefix("Participant ")] = person
    with _opened(archive) as zipped:
        taken = _taken(zipped, people, numbers, tell)
        dates = {_date(info) for _, _, info in taken} - {NO_DATE}
        own_times = len({student for student, _, _ in taken}) < 2 or bool(dates and _spread(dates) > SAME_TIME)
        found: dict[str, list[str]] = {}
        for student, name, info in taken:
            folder = root / "submissions" / student / set_name
            try:
                content = zipped.read(info)
                if student not in found:
                    shutil.rmtree(folder, ignore_errors=True)
                    folder.mkdir(parents=True)
                (folder / name).write_bytes(content)
            except Exception as error:  # what is raised depends on the damage: BadZipFile, zlib.error, OSError...
                tell(f"passed over {info.filename!r} of {student}: {error}")
                continue
            if own_times:
                when = datetime(*_date(info)).astimezone()
                (folder / "timestamp.txt").write_text(f"{when:%Y-%m-%d %H:%M:%S %z}\n", encoding="utf-8")
                if _date(info) == NO_DATE:
                    tell(f"{info.filename!r} of {student} has no date: taken as {when:%Y-%m-%d}, which is never late")
            found.setdefault(student, []).append(name)
    return found, own_times


def _opened(archive: Path) -> zipfile.ZipFile:
    """The archive; raises ValueError, naming it, if it is none."""
    try:
        try:
            return zipfile.ZipFile(archive)
        except UnicodeDecodeError:
            return zipfile.ZipFile(io.BytesIO(_without_false_utf8(archive.read_bytes())))
    except FileNotFoundError:
        raise
    except Exception as error:  # as above
        raise ValueError(f"{archive} cannot be read as a zip: {error}") from error


def _without_false_utf8(content: bytes) -> bytes:
    """A zip in which no name is said to be UTF-8 (bit 11 of the flags) that is not.

    One such name, as some programs write them, keeps `zipfile` from reading any entry.
    """
    changed = bytearray(content)
    # In the directory, and at each entry: the signature, and behind it flags, length of the name, name.
    for signature, flags_at, length_at, name_at in ((b"PK\1\2", 8, 28, 46), (b"PK\3\4", 6, 26, 30)):
        for place in (found.start() for found in re.finditer(re.escape(signature), content)):
            flags, length = (struct.unpack_from("<H", content, place + at)[0] for at in (flags_at, length_at))
            try:
                content[place + name_at : place + name_at + length].decode()
            except UnicodeDecodeError:
                struct.pack_into("<H", changed, place + flags_at, flags & ~0x800)
    return bytes(changed)


def _taken(
    zipped: zipfile.ZipFile, people: Sequence[Person], numbers: Mapping[str, Person], tell: Callable[[str], object]
) -> list[tuple[str, str, zipfile.ZipInfo]]:
    """What is a submission in an archive, oldest first: the student, the file's own name, its entry.

    Raises ValueError if two people stand for one student.
    """
    taken: list[tuple[str, str, zipfile.ZipInfo]] = []
    senders: dict[str, str] = {}
    for info in sorted(zipped.infolist(), key=_date):
        parts = _parts(info)
        if not parts or info.is_dir() or any(re.match(r"\.[^.]|__MACOSX", part) for part in parts):
            continue
        try:
            _require_file(info, parts)
            student, name = _sender(parts, people, numbers)
        except ValueError as error:
            tell(f"passed over {info.filename!r}: {error}")
            continue
        if not student or (len(parts) == 1 and not NOTEBOOK.search(name)):
            if NOTEBOOK.search(name):
                tell(f"passed over {info.filename!r}: whose is it? Put it into a folder named after the student")
            continue
        canvas, moodle = CANVAS.fullmatch(parts[0]), MOODLE.fullmatch(parts[0])
        sender = moodle["number"] if moodle else canvas["canvas"] if canvas and len(parts) == 1 else parts[0]
        if senders.setdefault(student, sender) != sender:
            raise ValueError(
                f"two people in the archive would be {student}: add --worksheet, Moodle's grading worksheet of the set"
            )
        taken.append((student, name, info))
    return taken


def _parts(info: zipfile.ZipInfo) -> tuple[str, ...]:
    """The folders and the name of an entry, without a drive and a root."""
    name = info.filename
    if not info.flag_bits & 0x800:  # not said to be UTF-8, and read as the code page of DOS; often it is UTF-8
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return PurePosixPath(re.sub(r"^([A-Za-z]:)?/+", "", name.replace("\\", "/"))).parts


def _require_file(info: zipfile.ZipInfo, parts: Sequence[str]) -> None:
    """Raise ValueError, saying why, for an entry that is no file to be read."""
    if ".." in parts:
        raise ValueError("it leads out of the archive")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise ValueError("it is a link, not a file")
    if info.flag_bits & 1:
        raise ValueError("it is encrypted")
    if info.file_size > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES // 10**6} MB; its outputs must be cleared")
    if parts[-1] == "timestamp.txt":
        raise ValueError("the time of a submission is that of the archive")


def _date(info: zipfile.ZipInfo) -> tuple[int, int, int, int, int, int]:
    """When an entry was last changed, NO_DATE if it does not say."""
    try:
        datetime(*info.date_time)
    except ValueError:
        return NO_DATE
    return info.date_time


def _spread(times: Iterable[tuple[int, int, int, int, int, int]]) -> timedelta:
    """How far the first and the last are apart."""
    found = sorted(datetime(*time) for time in times)
    return found[-1] - found[0]


def _sender(parts: Sequence[str], people: Sequence[Person], numbers: Mapping[str, Person]) -> tuple[str, str]:
    """Who sent a file of an archive, and the file's own name; nobody for a file of neither kind."""
    if len(parts) > 1:
        moodle = MOODLE.fullmatch(parts[0])
        listed = numbers.get(moodle["number"]) if moodle else None
        name = moodle["name"] if moodle else parts[0]
        known = listed and find_person(people, identifier=listed.identifier, email=listed.email, name=listed.name)
        person = known or listed or find_person(people, identifier=name, email=name, name=name)
        return (person.identifier if person else identifier(parts[0])), parts[-1]
    canvas = CANVAS.fullmatch(parts[0])
    if canvas is None:
        return "", parts[0]
    person = find_person(people, canvas=canvas["canvas"])
    return (person.identifier if person else identifier(f"{canvas['name']}{canvas['canvas']}")), canvas["file"]


def fill_table(
    root: Path, table: Path, set_name: str, scores: Mapping[str, float], of: float
) -> tuple[Path, list[str], str]:
    """Write a platform's table with the scores in it to root/TABLE; returns that path and whose row was not found.

    Moodle's column is Grade; Canvas's is the one that names the set, as ps1 or set 1, or a new one. The third thing
    returned is a warning if the platform gives other points than `of` for the set; empty if not.
    """
    header, rows = read_table(table)
    named = re.compile(rf"\b(?:ps|set)[\s_-]*{set_name.removeprefix('ps')}\b", re.IGNORECASE)
    column = "Grade" if "Grade" in header else next(filter(named.search, header), set_name)
    people, left, maximum = roster(root), set(scores), set()
    for row in rows:
        if row.get("Student", "").strip() == "Points Possible":
            row.setdefault(column, f"{of:g}")
            maximum.add(row[column])
        maximum.add(row.get("Maximum Grade", ""))
        person = _person(row)
        known = person and (
            find_person(
                people, identifier=person.identifier, email=person.email, canvas=person.canvas, name=person.name
            )
            or person
        )
        if known and known.identifier in scores:
            row[column] = f"{scores[known.identifier]:g}"
            left.discard(known.identifier)
    target = root / f"{set_name}-{table.name}"
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, header if column in header else [*header, column], restval="")
        writer.writeheader()
        writer.writerows(rows)
    other = sorted(text for text in maximum if re.fullmatch(r"\d+([.,]\d*)?", text) and _decimal(text) != of)
    warning = f"{set_name} has {of:g} points, and the table gives {', '.join(other)}: scores were not scaled"
    return target, sorted(left), warning if other else ""


def _decimal(text: str) -> float:
    return float(text.replace(",", "."))
