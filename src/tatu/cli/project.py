"""Projects of the embedded directory."""

from tatu.cli import directory


class ProjectList(directory.ListEntries):
    """List the projects."""

    kind = "projects"


class ProjectShow(directory.ShowEntry):
    """Show a project."""

    kind = "projects"


class ProjectCreate(directory.CreateEntry):
    """Add a project."""

    kind = "projects"


class ProjectSet(directory.SetEntry):
    """Enable or disable a project; disabling revokes its certificates."""

    kind = "projects"


class ProjectDelete(directory.DeleteEntry):
    """Delete a project and its assignments; its certificates are revoked."""

    kind = "projects"
