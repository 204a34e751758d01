"""``GET /docs``: Swagger UI, with what it lacks: the dark scheme, narrow screens, the way home."""

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse

from inference_service.web.paths import root_path

STATIC = "/static-offline-docs"
"""Where fastapi-offline serves the files of Swagger UI."""

_HEAD = """<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
.home { max-width: 1460px; margin: 0 auto; padding: 16px 20px 0; font: 15px system-ui, sans-serif; }
.home a { color: #2f55d4; }
.dark-mode .home a { color: #8ba6ff; }
.swagger-ui .info { margin: 24px 0; }
.swagger-ui .info .renderedMarkdown p { line-height: 1.9; }
@media (max-width: 640px) {
  .swagger-ui .opblock-tag { flex-wrap: wrap; font-size: 20px; }
  .swagger-ui .opblock-tag small { order: 1; flex-basis: 100%; padding: 4px 0 0; }
  .swagger-ui .opblock-tag .expand-operation { margin-left: auto; }
  .swagger-ui .opblock-tag:hover { background: none; }
  .swagger-ui .opblock .opblock-summary-path-description-wrapper {
    flex-direction: column; align-items: flex-start; gap: 2px; min-width: 0;
  }
  .swagger-ui .opblock .opblock-summary-path { max-width: 100%; font-size: 14px; }
  .swagger-ui .wrapper { padding: 0 12px; }
}
</style>
<script>
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();
</script>
</head>"""
_HOME = """<body>
<nav class="home"><a href="{root}/">Try the models on the home page</a></nav>
<noscript><p class="home">This page needs JavaScript. What it shows is in
<a href="{root}/openapi.json">openapi.json</a>.</p></noscript>"""


def add_docs_page(app: FastAPI) -> None:
    """The page about ``/openapi.json``."""

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        root = root_path(request.scope)
        page = get_swagger_ui_html(
            openapi_url=f"{root}/openapi.json",
            title=f"{app.title}: API",
            swagger_js_url=f"{root}{STATIC}/swagger-ui-bundle.js",
            swagger_css_url=f"{root}{STATIC}/swagger-ui.css",
            swagger_favicon_url=f"{root}{STATIC}/favicon.png",
            swagger_ui_parameters=app.swagger_ui_parameters,
        )
        text = bytes(page.body).decode()
        text = text.replace("<html>", '<html lang="en">', 1)
        text = text.replace("</head>", _HEAD, 1).replace("<body>", _HOME.format(root=root), 1)
        return HTMLResponse(text)
