"""One folder per wire protocol: schema (pydantic), pure codec, thin routes."""
