"""Signatures of webhooks: form parsing, Twilio HMAC, SendGrid ECDSA. Pure."""
