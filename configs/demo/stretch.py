"""Stretch each message into a key: slow work in C, in a script that blocks."""

from hashlib import pbkdf2_hmac

from pymule.sync import messages

STEPS = 5
ROUNDS = 1_000_000

for message in messages("slow"):
    key = message.body
    for step in range(1, STEPS + 1):
        key = pbkdf2_hmac("sha256", key, b"salt", ROUNDS)
        print(f"message {message.id}: step {step} of {STEPS}")
    print(f"message {message.id}: done, key {key.hex()[:16]}")
