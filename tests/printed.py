"""An explanation as it is printed, read again: its sections, and every line of arithmetic worked out exactly.

Shares no code with the engine: expressions are parsed as text and evaluated in fractions.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from fractions import Fraction
from math import floor

_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_RESULT = re.compile(rf"(-?{_NUMBER})(?: (?:[A-Z]{{3}}|s|µs))?")
_EXPRESSION = re.compile(r"(?:[-+−×/^(), ]|round9|round12|floor|min|max|[0-9.]+)+")
_FUNCTIONS: dict[str, Callable[..., Fraction]] = {
    "round9": lambda x: Fraction(round(x * 10**9), 10**9),
    "round12": lambda x: Fraction(round(x * 10**12), 10**12),
    "floor": lambda x: Fraction(floor(x)),
    "min": min,
    "max": max,
}


def evaluate(expression: str) -> Fraction:
    """An expression as it is printed, worked out exactly."""
    text = expression.replace("−", "-").replace("×", "*").replace("^", "**")
    text = re.sub(rf"(?<![\w.]){_NUMBER}", lambda found: f"N('{found[0]}')", text)
    return _value(ast.parse(text, mode="eval").body)


def _value(node: ast.expr) -> Fraction:
    match node:
        case ast.Call(func=ast.Name(id="N"), args=[ast.Constant(value=str(digits))]):
            return Fraction(digits)
        case ast.Call(func=ast.Name(id=name), args=args):
            return _FUNCTIONS[name](*(_value(arg) for arg in args))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.BinOp(left=left, op=op, right=right):
            a, b = _value(left), _value(right)
            match op:
                case ast.Add():
                    return a + b
                case ast.Sub():
                    return a - b
                case ast.Mult():
                    return a * b
                case ast.Div():
                    return a / b
                case ast.Pow():
                    return Fraction(a**b)
    raise AssertionError(ast.dump(node))


def steps(text: str) -> dict[str, Fraction]:
    """Every named number of an explanation; a line whose two sides differ fails."""
    found: dict[str, Fraction] = {}
    for line in text.split("\n"):
        *name, last = line.strip().split(" = ")
        result = _RESULT.fullmatch(last)
        if result is None or not name or re.match(r"\d+ \| ", line.strip()):
            continue
        if len(name) > 1 and _EXPRESSION.fullmatch(name[-1]):
            assert evaluate(name.pop()) == Fraction(result[1]), line
        found[" = ".join(name)] = Fraction(result[1])
    return found


def section(text: str, title: str) -> str:
    """The lines of one section, without its title and indent."""
    [found] = [part for part in text.split("\n\n") if part.split("\n")[0] == title]
    return "\n".join(line.removeprefix("  ") for line in found.split("\n")[1:])
