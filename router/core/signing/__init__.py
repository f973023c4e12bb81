"""Signatures of webhooks: form parsing, Twilio's HMAC, SendGrid's ECDSA. Pure."""
