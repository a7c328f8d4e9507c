"""Projects of the embedded directory."""

from tatu.cli import directory


class ProjectList(directory.ListThings):
    """List the projects."""

    nouns = "projects"


class ProjectShow(directory.ShowThing):
    """Show a project."""

    nouns = "projects"


class ProjectCreate(directory.CreateThing):
    """Add a project."""

    nouns = "projects"


class ProjectSet(directory.SetThing):
    """Enable or disable a project; disabling revokes its certificates."""

    nouns = "projects"


class ProjectDelete(directory.DeleteThing):
    """Delete a project and its assignments; its certificates are revoked."""

    nouns = "projects"
