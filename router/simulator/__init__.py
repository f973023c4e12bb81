"""The webhook simulator: builds, signs and posts the webhooks that Twilio and SendGrid send, to any receiver."""
