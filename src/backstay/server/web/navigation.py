"""The pages that the navigation leads to, and the keys that lead there."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Page:
    """One entry of the navigation.

    Attributes:
        name: which entry a page marks as its own.
        label: its words.
        address: where it leads.
        icon: its name in the icon sheet.
        key: pressed after `g`, leads there.
        roles: who sees it; empty: everybody.
    """

    name: str
    label: str
    address: str
    icon: str
    key: str
    roles: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Group:
    """Pages that belong together; the first group has no words above it."""

    label: str
    pages: tuple[Page, ...]


_RUNNING_THE_HOUSE = frozenset({"administrator", "operator", "auditor"})
_ONLY_ADMINISTRATORS = frozenset({"administrator"})

NAVIGATION = (
    Group("", (Page("overview", "Overview", "/", "layout-dashboard", "o"),)),
    Group(
        "Protect",
        (
            Page("file_servers", "File servers", "/file-servers", "server-2", "f"),
            Page("sets", "Backup sets", "/sets", "stack-2", "s", _RUNNING_THE_HOUSE),
            Page("policies", "Policies", "/policies", "calendar", "p", _RUNNING_THE_HOUSE),
            Page("rules", "Content rules", "/rules", "filter", "c", _RUNNING_THE_HOUSE),
        ),
    ),
    Group(
        "Run",
        (
            Page("jobs", "Jobs", "/jobs", "activity", "j"),
            Page("restore", "Restore", "/restore", "history", "r"),
        ),
    ),
    Group(
        "Watch",
        (
            Page("storage", "Storage", "/storage", "database", "t", _RUNNING_THE_HOUSE),
            Page("alerts", "Alerts", "/alerts", "bell", "a"),
            Page("audit", "Audit", "/audit", "list-check", "u", frozenset({"administrator", "auditor"})),
        ),
    ),
    Group(
        "Manage",
        (
            Page("administrators", "Administrators", "/administrators", "users", "m", _ONLY_ADMINISTRATORS),
            Page("settings", "Settings", "/settings", "settings", "e", _ONLY_ADMINISTRATORS),
        ),
    ),
)

SHORTCUTS = (
    ("?", "Show these keys"),
    ("/", "Go to the search or filter of the page"),
    ("j  k", "Next and previous row of a list"),
    ("Enter", "Open the marked row"),
    ("n", "What the page's main button does"),
    ("t", "Light, dark or as the system"),
    ("Esc", "Close a dialog or the menu"),
)
