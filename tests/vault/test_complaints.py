"""bw's complaints, word for word as bw 2026.6.0 said them, and what each of them means here."""

import pytest

from tasks.vault.complaints import Complaint, failure_of

HOST = "vault.example"
TRACE = """node:internal/process/promises:389
      new UnhandledPromiseRejection(reason);
      ^

    at throwUnhandledRejectionsMode (node:internal/process/promises:389:7)
Node.js v20.20.2"""
RECORDED = [
    # what bw said, exit status, cause
    ("The client copy of this cipher is out of date. Resync the client and try again.", 75, "conflict"),
    ("The cipher you are updating is out of date. Please save your work.", 75, "conflict"),
    ("Cipher doesn't exist", 75, "conflict"),
    ("Not found.", 69, "no-item"),
    ("You are not logged in.", 77, "signed-out"),
    ("Vault is locked.", 77, "locked"),
    ("client_id or client_secret is incorrect. Try again.", 77, "api-key"),
    (f"Syncing failed: Incorrect client_secret{TRACE}", 77, "api-key"),
    ("Username or password is incorrect. Try again", 77, "master-password"),
    ("ERROR bitwarden_crypto::keys: x\n\nCryptography error, The decryption operation failed", 77, "master-password"),
    ("Code is required.", 77, "two-step"),
    ("Login failed. No provider selected.", 77, "two-step"),
    ("No providers available for this client.", 77, "two-step"),
    ("Two-step token is invalid. Try again.", 77, "two-step"),
    ("Login failed.", 77, "two-step"),
    ("Rate limit exceeded. Try again later.", 75, "rate-limited"),
    ('Syncing failed: {"response":{"message":""},"message":"","statusCode":503}', 69, "server-error"),
    ('{"response":{"message":"","object":"error"},"message":"","statusCode":403}', 77, "signed-out"),
    ("Unauthorized response received for request to https://x. Attempting request again.", 77, "signed-out"),
    ("FetchError: request to https://x failed, reason: connect ECONNREFUSED 127.0.0.1:1", 69, "unreachable"),
    ("FetchError: request to https://x failed, reason: socket hang up", 69, "cut"),
    ("FetchError: request to https://x failed, reason: self-signed certificate in certificate chain", 78, "tls"),
    ("FetchError: request to https://x failed, reason: unable to verify the first certificate", 78, "tls"),
    ("Error: Insecure URL not allowed. All URLs must use HTTPS.", 78, "insecure"),
    (
        "Cannot read properties of null (reading 'toWrappedAccountCryptographicState')",
        78,
        "server-too-old",
    ),
    ("Master password unlock data is required is null or undefined.", 78, "no-unlock-data"),
    ("User Decryption Options are required for client initialization.", 78, "no-unlock-data"),
    ("KeyIdBackfillError: 404", 78, "bw-too-new"),
    ("Please update your app to continue using Bitwarden", 78, "bw-too-old"),
    ("env: \u2018node\u2019: No such file or directory", 69, "no-node"),
    ("/usr/bin/env: 'node': No such file or directory", 69, "no-node"),
    ("env: can't execute 'node': No such file or directory", 69, "no-node"),
    ("something that nobody has seen", 69, "bw"),
]


@pytest.mark.parametrize(("said", "status", "cause"), RECORDED, ids=[cause for _, _, cause in RECORDED])
def test_each_complaint_has_its_exit_status_and_cause(said: str, status: int, cause: str) -> None:
    failure = failure_of(Complaint(said, "bw sync", HOST))

    assert (failure.exit_status, failure.cause) == (status, cause)
    assert failure.next_step != ""


def test_the_sentence_quotes_the_line_that_says_it_and_no_stack_trace() -> None:
    failure = failure_of(
        Complaint(f"{TRACE}\nSyncing failed: Rate limit exceeded. Try again later.{TRACE}", "bw", HOST)
    )

    assert str(failure) == (
        "vault.example limits how often one may ask: bw said: Syncing failed: Rate limit exceeded. Try again later\n"
        "  next: wait a minute, then run it again"
    )


TYPED = (
    "? Two-step login method: (Use arrow keys)\n\u276f Authenticator App \n  Email \n  ──────────────\n  Cancel "
    "\x1b[9D\x1b[9C\x1b[2K\x1b[1A\x1b[2K\x1b[G"
    "? Two-step login method: \n  Authenticator App \n\u276f Email \n  ──────────────\n  Cancel "
    "\x1b[9D\x1b[9C\x1b[2K\x1b[G? Two-step login method: Email\x1b[30D\x1b[30C\n"
    "? Two-step login code: \x1b[23D\x1b[23C\x1b[2K\x1b[G? Two-step login code: 0\x1b[24D\x1b[24C"
    "\x1b[2K\x1b[G? Two-step login code: 0473\x1b[27D\x1b[27C\n"
)


@pytest.mark.parametrize(
    ("said", "what", "why"),
    [
        ("", "bw login failed on vault.example", "nothing"),
        ("Something new\n", "bw login failed on vault.example", "Something new"),
        (
            'Failed: {"message":"","statusCode":503}',
            "vault.example answers with an error",
            'bw login said: Failed: {"message":"","statusCode":503}',
        ),
        ("\x1b[31mNot found.\x1b[0m", "the bitwarden vault has no such item", "bw login said: Not found"),
    ],
    ids=["no complaint", "a new one", "one that has a meaning", "in red"],
)
def test_neither_a_question_of_bws_nor_what_was_typed_is_quoted_or_taken_for_the_complaint(
    said: str, what: str, why: str
) -> None:
    failure = failure_of(Complaint(TYPED + said, "bw login", HOST))

    assert (failure.what, failure.why) == (what, why)
