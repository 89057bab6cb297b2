"""Names of versions are read by the rule of absl::SimpleAtoi, with which TF Serving reads them."""

from __future__ import annotations

from ckpt2saved.versions.base import LARGEST_VERSION, parse_version
from tests.support.properties import example, given, st

WHITE = " \t\n\v\f\r"  # absl::ascii_isspace


def simple_atoi(text):
    """absl::SimpleAtoi<int64_t>, letter by letter: absl/strings/numbers.cc, safe_parse_sign_and_base and safe_int_internal."""
    letters = list(text)
    while letters and letters[0] in WHITE:
        letters.pop(0)
    while letters and letters[-1] in WHITE:
        letters.pop()
    if not letters:
        return None
    negative = letters[0] == "-"
    if letters[0] in "+-":
        letters.pop(0)
    if not letters:
        return None
    value = 0
    for letter in letters:
        if not "0" <= letter <= "9":
            return None
        value = value * 10 + ord(letter) - ord("0")
        if value > LARGEST_VERSION + negative:
            return None
    return -value if negative else value


LIKE_NUMBERS = st.text(st.sampled_from(WHITE + "+-0123456789_.eExX\0\u00a0\u0660\u0665\u00b2\uff11"), max_size=24)
NUMBERS = st.builds(
    "{}{}{}{}{}".format,
    st.text(st.sampled_from(WHITE), max_size=2),
    st.sampled_from(["", "+", "-", "--", "+-"]),
    st.text(st.just("0"), max_size=30),
    st.one_of(st.integers(0, 10**21), st.integers(LARGEST_VERSION - 2, LARGEST_VERSION + 3)),
    st.text(st.sampled_from(WHITE + "x"), max_size=2),
)


@given(st.one_of(LIKE_NUMBERS, NUMBERS, st.text(max_size=8)))
@example("-9223372036854775808")
@example("-9223372036854775809")
@example("9223372036854775808")
@example("+ 5")
@example(" 5\n")
@example("\x1f5")
def test_names_are_read_as_absl_reads_them(name):
    """Also at both ends of 64 bits, and with white space, signs and digits that int() takes and absl does not."""
    assert parse_version(name) == simple_atoi(name)


@given(st.integers(-LARGEST_VERSION - 1, LARGEST_VERSION))
def test_a_number_survives_being_a_name(number):
    assert parse_version(str(number)) == number
