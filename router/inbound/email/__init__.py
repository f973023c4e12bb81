"""Source `email`: mails posted by SendGrid Inbound Parse, read as a stream."""
