"""Jinja2 as the console uses it: everything is escaped, and an unknown name is an error."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from backstay.server.web import byte_paths, display
from backstay.server.web.navigation import NAVIGATION, SHORTCUTS
from backstay.server.web.states import look_of
from backstay.server.web.static_files import static_address


def icon(name: str, classes: str = "") -> Markup:
    """An icon of the sheet; decoration only, words stand beside it or in a label."""
    filled = " icon-filled" if name.endswith("-filled") else ""
    drawing = Markup('<svg class="icon{}{}" aria-hidden="true"><use href="{}#{}"></use></svg>')
    return drawing.format(filled, f" {classes}" if classes else "", static_address("vendor/icons.svg"), name)


@cache
def environment() -> Environment:
    """The one environment of all pages."""
    made = Environment(
        loader=PackageLoader("backstay.server.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(
        shown=display.shown_name,
        size=display.shown_size,
        rate=display.shown_rate,
        count=display.shown_count,
        counted=display.counted,
        duration=display.shown_duration,
        percent=display.shown_percent,
        when=display.time_tag,
        in_zone=display.in_zone,
        quoted=byte_paths.quoted,
        below=byte_paths.below,
        is_link=display.is_link,
        modified=display.modified,
        shell_words=display.shell_words,
        json_text=lambda value: json.dumps(value, separators=(",", ":")),
    )
    made.globals.update(
        icon=icon, look_of=look_of, static=static_address, navigation=NAVIGATION, shortcuts=SHORTCUTS
    )
    return made


def render(template: str, /, **context: Any) -> str:
    """The text of `template`, a path below `templates/`."""
    return environment().get_template(template).render(**context)


_FRAME_ENDS = "<!-- page -->"


def render_in_two(template: str, /, **context: Any) -> Iterator[str]:
    """As `render`, in two pieces: the frame of a page at once, then what it is about.

    Only for the second is `gather`, which the context must have, called by the template.
    """
    pieces: list[str] = []
    for piece in environment().get_template(template).generate(**context):
        pieces.append(piece)
        if _FRAME_ENDS in piece:
            yield "".join(pieces)
            pieces.clear()
    yield "".join(pieces)
