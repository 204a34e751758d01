"""HTTP/1.1 connections: uvicorn's protocol class with the rules and bounds that it leaves out."""
