"""Which part of a reply is the answer, whatever the task: what stands behind the thoughts, and
before the next question that a base model asks itself."""

import re

_OPENS = (
    r"<think(?:ing)?>|<\|begin_of_thought\|>|\[THINK\]|◁think▷|<\|channel\|>analysis<\|message\|>"
)
_CLOSES = (
    r"</think(?:ing)?>|<\|end_of_thought\|>|\[/THINK\]|◁/think▷|<\|channel\|>final<\|message\|>"
)
_THOUGHT = re.compile(f"(?P<open>{_OPENS})|(?P<close>{_CLOSES})", re.IGNORECASE)


def without_thoughts(reply: str) -> str | None:
    """The reply behind the last end of thoughts. None where it breaks off within them: nothing was
    answered yet. Templates often print the opening tag themselves, so that it need not be there."""
    if not any(sign in reply for sign in "<[◁"):  # with one of which every mark begins
        return reply
    marks = list(_THOUGHT.finditer(reply))
    if marks and marks[-1]["open"]:
        return None
    return reply[marks[-1].end() :] if marks else reply


# A line that opens the next question, or a turn that is not the model's.
_NEXT = re.compile(
    r"""
    ^[ \t]* (?: \#{1,6}[ \t]* )? (?: [*_]{1,2} )?
      (?: Question | Q | Problem | Exercise | Instruction | User | Human )
      [ \t]* [0-9]{0,4} [ \t]* (?: [*_]{1,2} )? [ \t]* : (?! [ \t]*// )
    | ^[ \t]* \#{2,6} [ \t]* (?: Instruction | Question | Problem | Input | User | Human )
      [ \t]* [0-9]{0,4} [ \t]* $
    | <\|im_(?:start|end)\|> | <\|endoftext\|> | <\|eot_id\|> | <\|user\|> | <end_of_turn>
    | </s> | \[INST\]
    """,
    re.VERBOSE | re.MULTILINE | re.IGNORECASE,
)


def before_next_question(reply: str) -> str:
    """The reply up to the first line that opens another question behind a piece with a digit in
    it: a reply may well begin with the question that it was asked."""
    first = next((i for i, c in enumerate(reply) if c.isnumeric()), len(reply))
    found = _NEXT.search(reply, first)
    return reply[: found.start()] if found else reply
