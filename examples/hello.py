"""The smallest workflow that shows something: brain run examples/hello.py --input who=ann"""

from brain_shell import ShellStep

from brain_core import Workflow

workflow = Workflow(
    name="hello",
    inputs={"who": "world"},
    steps=[
        ShellStep(name="greet", command='echo "Hello, {inputs.who}!"'),
        ShellStep(name="count", command="printf %s {greet} | wc -c | tr -d ' '"),
        ShellStep(name="report", command='echo "{greet} That is {count} bytes."'),
    ],
)
