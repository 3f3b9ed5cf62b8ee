"""What the page can ask for, by name; each is one function of a session, a message and a job."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from vlmlens.checks import flag, one_of, shown, whole, wholes, word
from vlmlens.errors import InputError
from vlmlens.live.edits import as_edit
from vlmlens.live.edits.cell import Cell
from vlmlens.live.history import Held
from vlmlens.live.many import many
from vlmlens.live.pictures import Uploads, asked_picture, elsewhere
from vlmlens.live.saved import Saved
from vlmlens.live.session import Session
from vlmlens.live.sweeping import swept
from vlmlens.live.turns import Job
from vlmlens.sample import Picture, Sample

#: Letters of a question at most.
LONGEST = 4000
Message = dict[str, Any]


def _open(session: Session, message: Message, job: Job, uploads: Uploads) -> Message:
    return {"state": session.show(job, session.history)}


def _question(session: Session, message: Message, job: Job, uploads: Uploads) -> Message:
    text = word(message.get("text"), "text")
    if not text.strip() or len(text) > LONGEST:
        raise InputError(f"a question has 1 to {LONGEST} letters, this one {len(text)}")
    asked = replace(_unanswered(session.now.sample), question=text)
    return {"state": session.asked(job, asked, session.now.second)}


def _picture(session: Session, message: Message, job: Job, uploads: Uploads) -> Message:
    sample = _unanswered(session.now.sample)
    if message.get("elsewhere") is not None:
        picture = elsewhere(sample.images, whole(message["elsewhere"], "elsewhere", least=0))
    else:
        picture = asked_picture(message, uploads)
    images = (picture, *sample.images[1:])
    return {"state": session.asked(job, replace(sample, images=images), session.now.second)}


def _second(session: Session, message: Message, job: Job, uploads: Uploads) -> Message:
    picture: Picture | None = None
    if message.get("upload") is not None or message.get("scene") is not None:
        picture = asked_picture(message, uploads)
    sample = session.now.sample
    images = (picture, *sample.images[1:])
    other = None if picture is None else replace(_unanswered(sample), images=images)
    return {"state": session.asked(job, sample, other)}


def _edit(session: Session, message: Message, job: Job, uploads: Uploads) -> Message:
    edits = (*session.now.edits, as_edit(message.get("edit")))
    return _with(session, job, session.now.with_edits(edits))


def _change(session: Session, message: Message, job: Job, uploads: Uploads) -> Message:
    edits, number = list(session.now.edits), _number(session, message)
    edits[number] = as_edit(message.get("edit"))
    return _with(session, job, session.now.with_edits(tuple(edits)))


def _remove(session: Session, message: Message, job: Job, uploads: Uploads) -> Message:
    edits, number = session.now.edits, _number(session, message)
    return _with(session, job, session.now.with_edits(edits[:number] + edits[number + 1 :]))


def _clear(session: Session, message: Message, job: Job, uploads: Uploads) -> Message:
    return _with(session, job, session.now.with_edits(()))


def _undo(session: Session, message: Message, job: Job, uploads: Uploads) -> Message:
    return {"state": session.show(job, session.history.undone())}


def _redo(session: Session, message: Message, job: Job, uploads: Uploads) -> Message:
    return {"state": session.show(job, session.history.redone())}


def _lens(session: Session, message: Message, job: Job, uploads: Uploads) -> Message:
    clean, edits = session.edits(job)
    at = _position(message.get("position"), "position", len(clean.inputs.layouts[0]))
    edited = flag(message.get("edited", False), "edited")
    return {"layers": session.asking.lens(clean, edits if edited else (), at)}


def _attention(session: Session, message: Message, job: Job, uploads: Uploads) -> Message:
    head = whole(message.get("head"), "head", least=0, most=session.asking.model.cfg.n_heads - 1)
    return {"values": _rows(session, message | {"count": 1}, job)[0][head]}


def _maps(session: Session, message: Message, job: Job, uploads: Uploads) -> Message:
    return {"values": _rows(session, message, job)}


def _code(session: Session, message: Message, job: Job, uploads: Uploads) -> Message:
    if flag(message.get("many", False), "many"):
        return {"python": many(session, job)}
    return {"python": session.code(job)}


def _say(session: Session, message: Message, job: Job, uploads: Uploads) -> Message:
    clean, edits = session.edits(job)
    edited = flag(message.get("edited", False), "edited")
    return {"answer": session.asking.whole(clean, edits if edited else ())}


def _sweep(session: Session, message: Message, job: Job, uploads: Uploads) -> Message:
    return swept(session, message, job)


def _map(session: Session, message: Message, job: Job, uploads: Uploads) -> Message:
    return {"map": _saved(session).shown()}


def _cell(session: Session, message: Message, job: Job, uploads: Uploads) -> Message:
    saved, given = _saved(session), message.get("at")
    others = tuple(edit for edit in session.now.edits if not isinstance(edit, Cell))
    if given is None:
        return _with(session, job, session.now.with_edits(others))
    at = wholes(given, "at", least=0)
    session.asking.clean(session.now.sample, job)  # which sees whether the model is another now
    session.asking.cell(session.now.sample, at)
    edit = Cell(at, saved.label((at[0], at[1])))
    return _with(session, job, session.now.with_edits((*others, edit)))


def _home(session: Session, message: Message, job: Job, uploads: Uploads) -> Message:
    saved = _saved(session)
    return {"state": session.asked(job, saved.edited, saved.second)}


#: What the page can ask for.
ACTIONS: dict[str, Callable[[Session, Message, Job, Uploads], Message]] = {
    "open": _open,
    "question": _question,
    "picture": _picture,
    "second": _second,
    "edit": _edit,
    "change": _change,
    "remove": _remove,
    "clear": _clear,
    "undo": _undo,
    "redo": _redo,
    "lens": _lens,
    "attention": _attention,
    "maps": _maps,
    "code": _code,
    "say": _say,
    "sweep": _sweep,
    "map": _map,
    "cell": _cell,
    "home": _home,
}


def _with(session: Session, job: Job, held: Held) -> Message:
    return {"state": session.show(job, session.history.then(held))}


def _saved(session: Session) -> Saved:
    if session.asking.saved is None:
        raise InputError("no saved map is open here: vlmlens explore MODEL --sweep FILE opens one")
    return session.asking.saved


def _number(session: Session, message: Message) -> int:
    count = len(session.now.edits)
    if not count:
        raise InputError("there is no edit to change or to remove")
    return whole(message.get("number"), "number", least=0, most=count - 1)


def _position(given: Any, what: str, size: int) -> int:
    return whole(given, what, least=0, most=size - 1)


def _rows(session: Session, message: Message, job: Job) -> list[list[list[float]]]:
    """What a query reads in some layers, by head; clean, edited, or edited minus clean."""
    asking = session.asking
    which = one_of(message.get("which", "clean"), "which", ("clean", "edited", "difference"))
    layer = whole(message.get("layer"), "layer", least=0, most=asking.model.layers - 1)
    count = whole(message.get("count"), "count", least=1, most=asking.model.layers - layer)
    clean, edits = session.edits(job)
    query = _position(message.get("query"), "query", len(clean.inputs.layouts[0]))
    found = asking.attention(clean, edits if which != "clean" else (), query)
    if which == "difference":
        found = found - asking.attention(clean, (), query)
    return found[layer : layer + count].astype(float).round(6).tolist()


def _unanswered(sample: Sample) -> Sample:
    """The same question without what is known of its answer, which another would not have.

    What its id names is that picture and question, too: draws of shuffles are by content then.
    """
    return replace(sample, answer=None, choices=(), options=(), references=(), id="")


def refuse(what: Any) -> InputError:
    """What is said of a request of no such name."""
    return InputError(f"do={shown(what)}: no such request; there is {', '.join(ACTIONS)}, cancel")
