"""What every endpoint asks for: the control, and who is behind the request."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request

from backstay.server.access import Actor, Permission
from backstay.server.control import Control


def control_of(request: Request) -> Control:
    """This server process."""
    control: Control = request.app.state.control
    return control


ControlDep = Annotated[Control, Depends(control_of)]


def actor_with(permission: Permission) -> Callable[[Request], Actor]:
    """A dependency: whoever is behind the request, who must have the permission."""

    def actor(request: Request) -> Actor:
        from backstay.server.sign_in import actor_of

        found = actor_of(request)
        found.require(permission)
        return found

    return actor


Viewer = Annotated[Actor, Depends(actor_with(Permission.VIEW))]
Runner = Annotated[Actor, Depends(actor_with(Permission.RUN))]
Editor = Annotated[Actor, Depends(actor_with(Permission.EDIT))]
Browsing = Annotated[Actor, Depends(actor_with(Permission.BROWSE))]
Restorer = Annotated[Actor, Depends(actor_with(Permission.RESTORE))]
Retainer = Annotated[Actor, Depends(actor_with(Permission.RETAIN))]
AuditReader = Annotated[Actor, Depends(actor_with(Permission.AUDIT))]
Manager = Annotated[Actor, Depends(actor_with(Permission.MANAGE))]
