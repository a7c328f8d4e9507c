"""The whole way, on a real host."""


def test_access_begins_with_enrolment_and_ends_with_revocation(boot, project):
    host = boot("db-1")
    project.enrol(host)
    bob = project.person("bob", "member")
    serial = bob.certify()["serial"]
    login = bob.ssh(host, "member", "id", "-un")
    assert login.stdout == "member\n", login.stderr + host.journal("ssh")
    bob.run("usercert", "revoke", serial, "--reason", "test")
    host.run(["tatu-agent", "sync"])
    refused = bob.ssh(host, "member", "true")
    assert (refused.returncode, "Permission denied" in refused.stderr) == (255, True)
