"""The API against its own description, by generated requests."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tatu.api.app import ROUTES
from tatu.core.sshsig import Namespace
from tests.api.deployment import deployed
from tests.api.keys import ClientKey

pytestmark = pytest.mark.slow

KEYS = [ClientKey() for _ in range(4)]
schemathesis.openapi.format("ssh-public-key", st.sampled_from([key.line for key in KEYS]))
schemathesis.openapi.format(
    "ssh-signature", st.sampled_from([key.sign(Namespace.SUBJECT, b"x") for key in KEYS])
)
load_all_checks()

UNSAYABLE = [
    # What JSON Schema cannot say is refused as malformed too: exactly one of five fields, a network
    # in CIDR notation, a marker that an earlier answer gave.
    positive_data_acceptance,
]


# The one left out ends the token that all the others are asked with.
DESCRIBED = sorted(
    (method, path)
    for path, operations in ROUTES.items()
    for method in operations
    if path != "/v2/tokens/current"
)


@pytest.fixture(scope="module")
def served(template, tmp_path_factory):
    many = {"certificates_account": 10**6, "sign_in_user": 10**6, "sign_in_key": 10**6}
    many |= {"sign_in_address": 10**6, "enrolment_host": 10**6, "enrolment_address": 10**6}
    many |= {"revocations_account": 10**6}
    with deployed(template, tmp_path_factory.mktemp("served"), **many) as made:
        yield made


@pytest.fixture(scope="module")
def described(served):
    return schemathesis.openapi.from_wsgi("/v2/openapi.json", served.app)


@pytest.mark.parametrize("mode", GenerationMode)
@pytest.mark.parametrize("route", DESCRIBED, ids=" ".join)
def test_every_answer_is_one_that_was_described(served, described, route, mode):
    method, path = route
    operation = described[path.replace(":path}", "}")][method]
    token = served.token("blue-admin", fresh=True)

    @settings(
        max_examples=8,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def validate(case):
        case.call_and_validate(
            headers={"Authorization": f"Bearer {token}"}, excluded_checks=UNSAYABLE
        )

    try:
        validate()
    except Unsatisfiable:
        # Nothing about this request can be wrong: it has no parameter and no body.
        assert mode is GenerationMode.NEGATIVE
