"""Make `statement/`: what a host must accept or refuse, and why.

The core's reader and the agent's are both tested on these files. Run as
`python -m tests.vectors.make_statements`: the files are the same each time.
"""

import json
from pathlib import Path

TARGET = Path(__file__).parent / "statement"

USER, HOST, CURRENT, NEXT, OFFLINE = (
    f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{end}"
    for end in (
        "H9pO5pz22JZEasoS2LEWWvJiUYI9M6l1uZc31FGYMXa",
        "PleC1y31iWHBes0JxfJOjcuRQGPYx/v8iaFsM7/bspD",
        "BusNLOdOqALj/q6RS7ELO3WGbJkY+s1VfDCl0CS71kl",
        "G215AuoVC3FGCNntK+8bKpUEQ8H1W+XZ2rb+hnHOZ0h",
        "Fg6y+tpsZQgiaP8VgR+39RKKLLWiNQlk9xuWlKFCILR",
    )
)
RECEIVER = {"deployment": "https://tatu.example", "authority": "blue", "host": "db-1"}
NOW = "2026-01-01T12:05:00Z"
NOON = 1767268800000  # milliseconds, 2026-01-01T12:00:00Z
DAY = 86_400_000
USUAL = {
    "format": 1,
    **RECEIVER,
    "version": NOON,
    "issued": "2026-01-01T12:00:00Z",
    "expires": "2026-01-01T12:15:00Z",
    "krl_version": NOON - 1000,
    "krl_digest": "sha256:" + 64 * "a",
    "user_authorities": [USER],
    "host_authorities": [HOST],
    "statement_keys": [CURRENT, NEXT],
    "accounts": {"admin": ["admin"], "member": ["alice@example", "member", "é"]},
    "sudo": ["admin"],
    "pam_sudo": True,
    "end_at_expiry": False,
    "break_glass": {"authorities": [OFFLINE], "account": "breakglass"},
    "freshness": {"policy": "warn", "max_age_seconds": 3600},
    "minimum_agent_version": "0.1",
    "lockdown": False,
}
LAST = {
    "version": NOON - 60_000,
    "issued": "2026-01-01T11:59:00Z",
    "expires": "2026-01-01T12:14:00Z",
}


def without(name):
    return {field: value for field, value in USUAL.items() if field != name}


def text(value):
    return json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":"))


USUAL_TEXT = text(USUAL)

# name: (what changes in the statement, what changes in the last one (None: there is none), expected)
RULES = {
    "the-first": ({}, None, "accepted"),
    "the-next": ({}, LAST, "accepted"),
    "for-every-host": ({"host": "*"}, LAST, "accepted"),
    "same-krl": ({}, LAST | {"krl_version": NOON - 1000}, "accepted"),
    "new-statement-keys": ({"statement_keys": [NEXT]}, LAST, "accepted"),
    "without-break-glass": ({"break_glass": None}, LAST, "accepted"),
    "without-host-authorities": ({"host_authorities": []}, LAST, "accepted"),
    "without-sudo-from-the-first": ({"sudo": []}, None, "accepted"),
    "still-without-sudo": ({"sudo": []}, LAST | {"sudo": []}, "accepted"),
    "fewer-accounts": ({"accounts": {"admin": ["admin"]}}, LAST, "accepted"),
    "fewer-sudo": ({}, LAST | {"sudo": ["admin", "member"]}, "accepted"),
    "lockdown-empties-all": (
        {"accounts": {}, "sudo": [], "user_authorities": [], "lockdown": True},
        LAST,
        "accepted",
    ),
    "lockdown-ends": ({}, LAST | {"accounts": {}, "sudo": [], "lockdown": True}, "accepted"),
    "another-deployment": ({"deployment": "https://tatu.invalid"}, LAST, "wrong-deployment"),
    "another-authority": ({"authority": "red"}, LAST, "wrong-authority"),
    "another-host": ({"host": "db-2"}, LAST, "wrong-host"),
    "version-a-day-ahead": ({"version": NOON + 300_000 + DAY}, LAST, "accepted"),
    "version-over-a-day-ahead": ({"version": NOON + 300_001 + DAY}, LAST, "too-far-ahead"),
    "version-at-the-end": ({"version": 2**63 - 1}, None, "too-far-ahead"),
    "krl-over-a-day-ahead": ({"krl_version": NOON + 300_001 + DAY}, LAST, "too-far-ahead"),
    "issued-over-a-day-ahead": (
        {"issued": "2026-01-02T12:05:01Z", "expires": "2026-01-02T12:15:00Z"},
        LAST,
        "too-far-ahead",
    ),
    "expired": (
        {"issued": "2026-01-01T11:50:00Z", "expires": "2026-01-01T12:05:00Z"},
        None,
        "expired",
    ),
    "about-to-expire": (
        {"issued": "2026-01-01T11:51:00Z", "expires": "2026-01-01T12:05:01Z"},
        None,
        "accepted",
    ),
    "the-same-again": ({}, {}, "not-newer"),
    "an-older-one": ({}, {"version": NOON + 1}, "not-newer"),
    "an-older-krl": ({}, LAST | {"krl_version": NOON - 999}, "krl-went-back"),
    "sudo-emptied": ({"sudo": []}, LAST, "needs-lockdown"),
    "sudo-emptied-by-lockdown": ({"sudo": [], "lockdown": True}, LAST, "accepted"),
}

# name: a statement that must not even be read, whatever stood before
MALFORMED = {
    "nothing": "",
    "no-object": "[]",
    "null": "null",
    "cut": USUAL_TEXT[:-1],
    "more-behind": USUAL_TEXT + "\n",
    "deep": "[" * 5_000,
    "spaces": json.dumps(USUAL, sort_keys=True),
    "unsorted": json.dumps(USUAL, separators=(",", ":")),
    "not-ascii": USUAL_TEXT.replace("\\u00e9", "é"),
    "needless-escape": USUAL_TEXT.replace('"blue"', '"\\u0062lue"'),
    "a-key-twice": USUAL_TEXT.replace('"host":', '"host":"*","host":'),
    "an-account-twice": USUAL_TEXT.replace('"admin":', '"admin":["root"],"admin":', 1),
    "unknown-field": text(USUAL | {"zone": "x"}),
    "unknown-freshness-field": text(
        USUAL | {"freshness": {"policy": "warn", "max_age_seconds": 1, "x": 1}}
    ),
    "another-format": text(USUAL | {"format": 2}),
    **{f"without-{name}": text(without(name)) for name in USUAL},
    **{
        f"wrong-{name}-{number}": text(USUAL | {name: value})
        for name, values in {
            "version": (0, -1, 1.0, "1", True, None, 2**63, 10**400),
            "krl_version": (0, False, 1e3),
            "krl_digest": ("sha256:" + 64 * "A", "sha1:" + 40 * "a", "sha256:" + 64 * "a" + "\n"),
            "deployment": ("", "a b", "a\n", "é", "a" * 256, 7),
            "authority": ("", "a\u0000", ["blue"]),
            "host": ("", "**\n"),
            "issued": (
                "2026-01-01T12:00:00+00:00",
                "2026-01-01T12:00:00.5Z",
                "2026-1-1T12:00:00Z",
                "2026-13-01T12:00:00Z",
                NOON,
            ),
            "expires": ("2026-01-01T12:00:00Z", "2026-01-01T12:15:01Z", "2025-01-01T12:10:00Z"),
            "user_authorities": (USER, [7], ["x"], [USER + " me"], [USER, USER], [HOST]),
            "host_authorities": (None, [""]),
            "statement_keys": ([], [USER], [CURRENT + "\n"]),
            "accounts": (
                [],
                {"Admin": ["a"]},
                {"0admin": ["a"]},
                {"a" * 33: ["a"]},
                {"": ["a"]},
                {"admin": []},
                {"admin": "admin"},
                {"admin": [7]},
                {"admin": [""]},
                {"admin": ["a", "a"]},
                {"admin": ["a,root"]},
                {"admin": ["a b"]},
                {"admin": ["a\nroot"]},
                {"admin": ["a\tb"]},
                {"admin": ["#a"]},
                {"admin": ["a\u00a0b"]},
                {"admin": ["\u202ea"]},
                {"admin": ["\ud800"]},
                {"admin": ["a" * 257]},
            ),
            "sudo": (["admin", "admin"], ["root"], "admin", [["admin"]]),
            "freshness": (
                "warn",
                {"policy": "off", "max_age_seconds": 1},
                {"policy": "warn", "max_age_seconds": 0},
                {"policy": "warn"},
            ),
            "pam_sudo": (1, "true", None),
            "end_at_expiry": (0, "false", None),
            "break_glass": (
                {},
                [],
                False,
                {"authorities": [OFFLINE]},
                {"account": "breakglass"},
                {"authorities": [OFFLINE], "account": "breakglass", "x": 1},
                {"authorities": [], "account": "breakglass"},
                {"authorities": OFFLINE, "account": "breakglass"},
                {"authorities": [USER], "account": "breakglass"},
                {"authorities": [OFFLINE, OFFLINE], "account": "breakglass"},
                {"authorities": [OFFLINE], "account": "admin"},
                {"authorities": [OFFLINE], "account": ""},
                {"authorities": [OFFLINE], "account": "../root"},
                {"authorities": [OFFLINE], "account": None},
            ),
            "minimum_agent_version": ("", "1.", "v1", "1.0.0.0.0", "1.0\n", 1),
            "lockdown": (0, "false", None),
        }.items()
        for number, value in enumerate(values, 1)
    },
    "emptied-accounts": text(USUAL | {"accounts": {}, "sudo": []}),
    "emptied-user-authorities": text(USUAL | {"user_authorities": []}),
}


def main():
    rules = {
        name: (text(USUAL | new), None if last is None else text(USUAL | last), expect)
        for name, (new, last, expect) in RULES.items()
    }
    malformed = {name: (statement, None, "malformed") for name, statement in MALFORMED.items()}
    for group, cases in (("rules", rules), ("malformed", malformed)):
        fields = ("statement", "last", "expect")
        listed = [
            {
                "name": name,
                "receiver": RECEIVER,
                "now": NOW,
                **dict(zip(fields, case, strict=True)),
            }
            for name, case in cases.items()
        ]
        (TARGET / f"{group}.json").write_text(json.dumps(listed, indent=2) + "\n")


if __name__ == "__main__":
    main()
