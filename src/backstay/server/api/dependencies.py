"""What every endpoint asks for: the control, and who is behind the request."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Path, Request, Response

from backstay.server.access import Actor, Permission
from backstay.server.control import Control


def control_of(request: Request) -> Control:
    """This server process."""
    control: Control = request.app.state.control
    return control


ControlDep = Annotated[Control, Depends(control_of)]


@dataclass(frozen=True)
class ActorWith:
    """A dependency: whoever is behind the request, who must have the permission; None: any that is known."""

    permission: Permission | None

    def __call__(self, request: Request) -> Actor:
        """The actor. Raises NotSignedIn, Forbidden."""
        from backstay.server.sign_in import actor_of

        found = actor_of(request)
        if self.permission is not None:
            found.require(self.permission)
        return found


def keep_nowhere(response: Response) -> None:
    """Answers hold tokens, passwords and names of files: no cache keeps them, no browser guesses types."""
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"


def public() -> None:
    """Says of an endpoint that it answers everybody, on purpose."""


PUBLIC = Depends(public)

Number = Annotated[int, Path(ge=1, le=2**53)]
"""A row's number, in a path."""

Anybody = Annotated[Actor, Depends(ActorWith(None))]
"""Whoever is signed in, in any role: for what concerns nobody but themselves."""

Viewer = Annotated[Actor, Depends(ActorWith(Permission.VIEW))]
Runner = Annotated[Actor, Depends(ActorWith(Permission.RUN))]
Editor = Annotated[Actor, Depends(ActorWith(Permission.EDIT))]
Browsing = Annotated[Actor, Depends(ActorWith(Permission.BROWSE))]
Restorer = Annotated[Actor, Depends(ActorWith(Permission.RESTORE))]
Retainer = Annotated[Actor, Depends(ActorWith(Permission.RETAIN))]
AuditReader = Annotated[Actor, Depends(ActorWith(Permission.AUDIT))]
Manager = Annotated[Actor, Depends(ActorWith(Permission.MANAGE))]
