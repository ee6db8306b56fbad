"""Write every sentence that the program can say into ``docs/sentences.md``.

``python -m tools.sentences``. The sentences are the texts in the source that hold a
word and a space; what a program puts into them stands as ‹its name›. Left out are texts
that nobody reads: `UNREAD`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "napari_zssr"
PAGE = ROOT / "docs" / "sentences.md"
MANIFEST = "napari.yaml"

ROOMS = {
    "": "Settings, and what a script asks for",
    "imaging": "Arrays and physics",
    "zssr": "One plane: networks, training, prediction",
    "stack": "Whole images: channels, memory, checks, reports",
    "io": "Files",
    "execution": "Runs to disk",
    "cli": "Command line",
    "plugin": "napari",
}
# Texts that are not read by people, by what they look like.
UNREAD = (
    (r"^<[a-z!?/]|</[a-z]+>|<br>|[a-z]+=\"", "HTML and SVG"),
    (r"px;|\{[^}]*;|^\s*(background|border|color|font|margin|padding)", "style sheets"),
    (r"\(\?[:P=!<]|\\[dwsb]|\[\^", "regular expressions"),
    (r"->", "subscripts of sums"),
    (
        r"-m pip |^from napari_zssr import|^\w+(\.\w+)* = |^\w+(\.\w+)*\(",
        "commands, code",
    ),
    (r"doi:|CC BY|MIT licence", "references"),
)
# Calls whose texts are for programs.
PROGRAMS = {
    "compile",
    "debug",
    "einsum",
    "filterwarnings",
    "fullmatch",
    "getLogger",
    "match",
    "search",
    "setStyleSheet",
    "split",
    "strftime",
    "sub",
    "with_name",
}
# Names whose texts are for programs, and why.
UNREAD_NAMES = {
    "FORM_ADVICE": "its keys are texts of the engine that the form replaces",
    "ALLOCATION_FAILED": "texts of torch that are recognised",
    "STYLE": "layout of a page",
}
READ_DOCSTRINGS = {"check", "demo", "doctor", "info", "kernel", "upscale"}
# Errors that are shown by themselves, so that their text has to be whole.
WHOLE = re.compile(r"(Input|Compute|Storage)Error$")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A text that is read, and whether it stands alone.

    Attributes
    ----------
    module : file it stands in, relative to the package
    text : with ‹names› for what is put into it
    is_whole : whether it is shown as it is, and not after or within another
    """

    module: str
    text: str
    is_whole: bool = False


def sentences() -> list[Sentence]:
    """All of them, by module and in the order of the source."""
    files = sorted(SOURCE.rglob("*.py"), key=_order)
    found = [one for file in files for one in _of_module(file)]
    found += [Sentence(MANIFEST, text) for text in _of_manifest()]
    return list(dict.fromkeys(found))


def page(found: list[Sentence]) -> str:
    """The page of all sentences, in Markdown."""
    parts = [
        "# Every sentence the program can say\n",
        "Written by `python -m tools.sentences`, and compared with the source by a "
        "test. What is filled in stands as ‹name›; what begins with a small letter or "
        "a comma follows or completes another sentence.\n",
    ]
    for room, of_room in groupby(found, key=lambda one: _room(one.module)):
        parts.append(f"## {ROOMS[room]}\n")
        for module, of_module in groupby(of_room, key=lambda one: one.module):
            parts.append(f"### {_title(module)}\n\n`{module}`\n")
            texts = dict.fromkeys(_escaped(one.text) for one in of_module)
            parts.append("".join(f"- {text}\n" for text in texts))
    return "\n".join(parts)


def _order(file: Path) -> tuple[int, str]:
    module = file.relative_to(SOURCE).as_posix()
    return list(ROOMS).index(_room(module)), module


def _room(module: str) -> str:
    if module == MANIFEST:
        return "plugin"
    return module.partition("/")[0] if "/" in module else ""


def _title(module: str) -> str:
    """First line of a module's docstring, without its full stop."""
    if module == MANIFEST:
        return "Menus and samples"
    docstring = ast.get_docstring(_tree(SOURCE / module)) or module
    return docstring.partition("\n")[0].partition(". ")[0].rstrip(".")


def _escaped(text: str) -> str:
    text = re.sub(r"\{(\w+)\}", r"‹\1›", " ".join(text.split()))
    return re.sub(r"([*<\[\]])", r"\\\1", text)


def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _of_manifest() -> Iterator[str]:
    """Titles and descriptions of the napari manifest."""

    def read(node: object) -> Iterator[str]:
        if isinstance(node, list):
            for item in node:
                yield from read(item)
        if isinstance(node, dict):
            for key, value in node.items():
                is_text = key in ("title", "display_name", "description")
                if is_text and isinstance(value, str) and " " in value:
                    yield value
                yield from read(value)

    return read(yaml.safe_load((SOURCE / MANIFEST).read_text(encoding="utf-8")))


def _of_module(file: Path) -> Iterator[Sentence]:
    """Sentences of one module, in the order of its lines."""
    module = file.relative_to(SOURCE).as_posix()
    reader = _Reader(is_command_line=_room(module) == "cli")
    reader.visit(_tree(file))
    for text, is_whole in reader.found:
        if _is_read(text):
            yield Sentence(module, text.strip("\n"), is_whole)


def _is_read(text: str) -> bool:
    """Whether a text holds words for people."""
    words = re.sub(r"‹[^›]*›", " ", text)
    if " " not in text.strip() or not re.search(r"[A-Za-z]{2}", words):
        return False
    return not any(re.search(pattern, text) for pattern, _ in UNREAD)


class _Reader(ast.NodeVisitor):
    """Collects texts, and whether they stand alone."""

    def __init__(self, *, is_command_line: bool) -> None:
        self.found: list[tuple[str, bool]] = []
        self._is_whole = False
        self._is_command_line = is_command_line

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.found.append((node.value, self._is_whole))

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        self.found.append((_text(node), self._is_whole))
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                self._visit_part(part.value)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if isinstance(node.op, ast.Add) and _is_text(node):
            self.found.append((_text(node), self._is_whole))
            return
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name in PROGRAMS:
            return
        was, self._is_whole = self._is_whole, bool(WHOLE.search(name))
        self.generic_visit(node)
        self._is_whole = was

    def visit_Assign(self, node: ast.Assign) -> None:
        names = {getattr(target, "id", "") for target in node.targets}
        if not names & UNREAD_NAMES.keys():
            self.generic_visit(node)
        elif isinstance(node.value, ast.Dict):
            for value in node.value.values:
                self.visit(value)

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):
            self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        docstring = ast.get_docstring(node)
        if node.name in READ_DOCSTRINGS and docstring and self._is_command_line:
            self.found.append((docstring, False))
        for statement in (*node.decorator_list, node.args, *node.body):
            self.visit(statement)

    def visit_arg(self, node: ast.arg) -> None:
        """Annotations hold the options of the command line."""
        if node.annotation is not None and "Annotated" in ast.dump(node.annotation):
            self.visit(node.annotation)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """As of an argument: options can be the fields of a record."""
        if "Annotated" in ast.dump(node.annotation):
            self.visit(node.annotation)
        if node.value is not None:
            self.visit(node.value)

    def _visit_part(self, node: ast.expr) -> None:
        was, self._is_whole = self._is_whole, False
        self.visit(node)
        self._is_whole = was


def _is_text(node: ast.expr) -> bool:
    """Whether an expression is a text, as far as its ends show."""
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Add) and (
            _is_text(node.left) or _is_text(node.right)
        )
    is_constant = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return is_constant or isinstance(node, ast.JoinedStr)


def _text(node: ast.expr) -> str:
    """An expression as people read it, with ‹names› for what is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    if isinstance(node, ast.BinOp) and _is_text(node):
        return _text(node.left) + _text(node.right)
    value = node.value if isinstance(node, ast.FormattedValue) else node
    return f"‹{_name(value)}›"


def _name(node: ast.expr) -> str:
    """What an expression stands for, in a word or two."""
    if isinstance(node, ast.Call):
        inner = node.args[0] if node.args else node.func
        called = getattr(node.func, "attr", getattr(node.func, "id", ""))
        shows_argument = called in ("len", "max", "min", "str", "repr", "abs", "float")
        if shows_argument and node.args:
            return _name(inner)
        if called == "join":
            return _name(inner)
        return called.strip("_").replace("_", " ")
    if isinstance(node, ast.Attribute):
        return node.attr.strip("_").replace("_", " ")
    if isinstance(node, ast.Name):
        return node.id.strip("_").replace("_", " ")
    if isinstance(node, ast.Constant):
        return str(node.value).strip()
    if isinstance(node, ast.Subscript):
        return _name(node.value)
    if isinstance(node, ast.BinOp):
        sides = (node.right, node.left)
        named = [side for side in sides if not isinstance(side, ast.Constant)]
        return _name(named[0] if named else node.right)
    if isinstance(node, ast.IfExp):
        return f"{_name(node.body)} or {_name(node.orelse)}".removesuffix(" or ")
    names = [part.id for part in ast.walk(node) if isinstance(part, ast.Name)]
    return names[0].replace("_", " ") if names else "…"


if __name__ == "__main__":
    PAGE.write_text(page(sentences()), encoding="utf-8")
