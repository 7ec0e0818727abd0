"""Inputs of each kind, and a plain Python function as a step.

    brain run examples/inputs.py --input amount=120
    brain run examples/inputs.py --input amount=99.5 --input people='["ann", "bo"]' --input round_up=false

A default makes an input optional, and the input has the default's type; a type alone makes it required. What is given
is checked before anything runs: `--input amount=much` is refused.
"""

import math

from brain_core import FunctionStep, Workflow


def share(amount: float, people: list[str], round_up: bool) -> dict[str, float]:
    each = amount / len(people)
    return {person: math.ceil(each) if round_up else round(each, 2) for person in people}


def write_bill(title: str, shares: dict[str, float], currency: str) -> str:
    return "\n".join([title, *(f"{person}: {value:g} {currency}" for person, value in shares.items())])


workflow = Workflow(
    name="inputs",
    description="Shares an amount among people.",
    inputs={
        "amount": float,
        "people": ["ann", "bo", "cy"],
        "round_up": True,
        "currency": "EUR",
    },
    steps=[
        FunctionStep(
            name="shares",
            function=share,
            # A placeholder alone brings the value with its type: a number, a list, a boolean.
            args={"amount": "{inputs.amount}", "people": "{inputs.people}", "round_up": "{inputs.round_up}"},
        ),
        FunctionStep(
            name="bill",
            function=write_bill,
            # Inside other text it becomes text.
            args=["{inputs.amount} for {inputs.people}", "{shares}", "{inputs.currency}"],
        ),
    ],
)
