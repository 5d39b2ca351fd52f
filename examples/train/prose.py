"""English paragraphs out of docstrings, comments and reST: code, tables and signatures left out.

Every rule here is a cheap share of characters or words. A paragraph lost does no harm, a
paragraph of code kept does: the model is to be judged by the English that it has learnt.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

BULLET = re.compile(r"^(?:[*\-+•]|\(?[0-9a-z]{1,2}[.)])\s+")
ROLE = re.compile(r":[a-z:]+:`~?([^`]+)`")
MARKUP = re.compile(r"`{1,2}([^`]+)`{1,2}_{0,2}|\*{1,2}([^*\s][^*]*)\*{1,2}")
DIRECTIVE = re.compile(r"^(?:\.\. |:\w+ ?\w*:|@\w+)|>>>|^\$|TODO|XXX|FIXME|Traceback", re.MULTILINE)
TABLE_GAP = re.compile(r"\S {3,}\S|[-=~+|#*_^.]{4,}")
PLAIN_WORD = re.compile(r"[(\"']?[A-Za-z][a-z]*(?:['-][A-Za-z]+)*[)\"']?[.,;:!?]?[)\"']?")
ENDINGS = (".", ":", "!", "?", ".)", '."', ".'", '".')
STOP_WORDS = re.compile(
    r"an?|and|are|as|at|be|but|by|can|for|from|has|have|if|i[nst]|its|may|must|not|o[fnr]|"
    r"should|so|th[ae]n|that|the|then|there|these|this|to|was|we|when|which|will|with|you"
)


def paragraphs(text: str) -> Iterator[str]:
    """The paragraphs of `text` that read as English, each on one line, markup removed."""
    for block in re.split(r"\n[ \t]*\n", inspect.cleandoc(text.expandtabs())):
        if not DIRECTIVE.search(block) and not TABLE_GAP.search(block):
            plain = _without_markup(block)
            if is_prose(plain):
                yield plain


def _without_markup(block: str) -> str:
    line = BULLET.sub("", " ".join(block.split()))
    line = ROLE.sub(r"\1", line)
    line = MARKUP.sub(lambda match: match[1] or match[2], line)
    line = line.replace("``", '"').replace("''", '"').replace("--", "-")
    line = line.removesuffix(":") if line.endswith("::") else line
    return f"{line}." if line[-1:].isalnum() else line  # many comments are not ended


def is_prose(line: str) -> bool:
    """Whether one line is a sentence or more of English: a few words that are mostly words."""
    words = line.split()
    if len(words) < 6 or not line[0].isalnum() or not line.endswith(ENDINGS):
        return False
    if not line.isascii() or line.count("=") > 1 or "Copyright" in line:
        return False
    plain = sum(PLAIN_WORD.fullmatch(word) is not None for word in words)
    stops = sum(STOP_WORDS.fullmatch(word.lower().strip(".,;:()")) is not None for word in words)
    return plain / len(words) >= 0.7 and stops / len(words) >= 0.12
