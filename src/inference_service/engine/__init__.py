"""The asyncio shell around the core. Knows neither HTTP nor onnxruntime."""
