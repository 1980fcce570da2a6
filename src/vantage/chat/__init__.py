"""A client for servers with OpenAI's chat API, which records every answer."""
