// The examples of the extensions in the GitHub Flavored Markdown specification (0.29-gfm), with what they say.
// https://github.github.com/gfm/ (CC BY-SA 4.0)
export interface Example {
  text: string;
  /** What the specification shows; without it an example of our own, which is only cut. */
  html?: string;
}

const M = "www.google.com/search?q=Markup+(business)";
const A = `<a href="http://${M}">${M}</a>`;

export const GITHUB: Record<string, Example[]> = {
  tables: [
    {
      text: "| foo | bar |\n| --- | --- |\n| baz | bim |\n",
      html: "<table><thead><tr><th>foo</th><th>bar</th></tr></thead><tbody><tr><td>baz</td><td>bim</td></tr></tbody></table>",
    },
    {
      text: "| abc | defghi |\n:-: | -----------:\nbar | baz\n",
      html: '<table><thead><tr><th align="center">abc</th><th align="right">defghi</th></tr></thead><tbody><tr><td align="center">bar</td><td align="right">baz</td></tr></tbody></table>',
    },
    {
      text: "| f\\|oo  |\n| ------ |\n| b `\\|` az |\n| b **\\|** im |\n",
      html: "<table><thead><tr><th>f|oo</th></tr></thead><tbody><tr><td>b <code>|</code> az</td></tr><tr><td>b <strong>|</strong> im</td></tr></tbody></table>",
    },
    {
      text: "| abc | def |\n| --- | --- |\n| bar | baz |\n> bar\n",
      html: "<table><thead><tr><th>abc</th><th>def</th></tr></thead><tbody><tr><td>bar</td><td>baz</td></tr></tbody></table><blockquote><p>bar</p></blockquote>",
    },
    {
      text: "| abc | def |\n| --- | --- |\n| bar | baz |\nbar\n\nbar\n",
      html: "<table><thead><tr><th>abc</th><th>def</th></tr></thead><tbody><tr><td>bar</td><td>baz</td></tr><tr><td>bar</td><td></td></tr></tbody></table><p>bar</p>",
    },
    { text: "| abc | def |\n| --- |\n| bar |\n", html: "<p>| abc | def |\n| --- |\n| bar |</p>" },
    {
      text: "| abc | def |\n| --- | --- |\n| bar |\n| bar | baz | boo |\n",
      html: "<table><thead><tr><th>abc</th><th>def</th></tr></thead><tbody><tr><td>bar</td><td></td></tr><tr><td>bar</td><td>baz</td></tr></tbody></table>",
    },
    { text: "| abc | def |\n| --- | --- |\n", html: "<table><thead><tr><th>abc</th><th>def</th></tr></thead></table>" },
    { text: "text\n\na | b\n- | :-\n1 | ~~2~~ https://a.test\n\nafter\n" },
    { text: "- in a list\n\n  | a |\n  |---|\n  | 1 |\n\n> | b |\n> |---|\n> | 2 |\n" },
  ],
  tasks: [
    {
      text: "- [ ] foo\n- [x] bar\n",
      html: '<ul><li><input type="checkbox"> foo</li><li><input checked type="checkbox"> bar</li></ul>',
    },
    {
      text: "- [x] foo\n  - [ ] bar\n  - [x] baz\n- [ ] bim\n",
      html: '<ul><li><input checked type="checkbox"> foo<ul><li><input type="checkbox"> bar</li><li><input checked type="checkbox"> baz</li></ul></li><li><input type="checkbox"> bim</li></ul>',
    },
    { text: "1. [ ] one\n2. [X] two\n" },
    { text: "- [ ] loose\n\n- [x] list\n\n  with text\n" },
  ],
  strikethrough: [
    { text: "~~Hi~~ Hello, ~there~ world!\n", html: "<p><del>Hi</del> Hello, <del>there</del> world!</p>" },
    { text: "This ~~has a\n\nnew paragraph~~.\n", html: "<p>This ~~has a</p><p>new paragraph~~.</p>" },
    { text: "This will ~~~not~~~ strike.\n", html: "<p>This will ~~~not~~~ strike.</p>" },
  ],
  autolinks: [
    { text: "www.commonmark.org\n", html: '<p><a href="http://www.commonmark.org">www.commonmark.org</a></p>' },
    {
      text: "Visit www.commonmark.org/help for more information.\n",
      html: '<p>Visit <a href="http://www.commonmark.org/help">www.commonmark.org/help</a> for more information.</p>',
    },
    {
      text: "Visit www.commonmark.org.\n\nVisit www.commonmark.org/a.b.\n",
      html: '<p>Visit <a href="http://www.commonmark.org">www.commonmark.org</a>.</p><p>Visit <a href="http://www.commonmark.org/a.b">www.commonmark.org/a.b</a>.</p>',
    },
    { text: `${M}\n\n${M}))\n\n(${M})\n\n(${M}\n`, html: `<p>${A}</p><p>${A}))</p><p>(${A})</p><p>(${A}</p>` },
    {
      text: "www.google.com/search?q=(business))+ok\n",
      html: '<p><a href="http://www.google.com/search?q=(business))+ok">www.google.com/search?q=(business))+ok</a></p>',
    },
    {
      text: "www.google.com/search?q=commonmark&hl=en\n\nwww.google.com/search?q=commonmark&hl;\n",
      html: '<p><a href="http://www.google.com/search?q=commonmark&amp;hl=en">www.google.com/search?q=commonmark&amp;hl=en</a></p><p><a href="http://www.google.com/search?q=commonmark">www.google.com/search?q=commonmark</a>&amp;hl;</p>',
    },
    { text: "www.commonmark.org/he<lp\n", html: '<p><a href="http://www.commonmark.org/he">www.commonmark.org/he</a>&lt;lp</p>' },
    {
      // ftp is no scheme of ours: its address stays text.
      text: "http://commonmark.org\n\n(Visit https://encrypted.google.com/search?q=Markup+(business))\n\nAnonymous FTP is available at ftp://foo.bar.baz.\n",
      html: '<p><a href="http://commonmark.org">http://commonmark.org</a></p><p>(Visit <a href="https://encrypted.google.com/search?q=Markup+(business)">https://encrypted.google.com/search?q=Markup+(business)</a>)</p><p>Anonymous FTP is available at ftp://foo.bar.baz.</p>',
    },
    { text: "foo@bar.baz\n", html: '<p><a href="mailto:foo@bar.baz">foo@bar.baz</a></p>' },
    {
      text: "hello@mail+xyz.example isn't valid, but hello+xyz@mail.example is.\n",
      html: '<p>hello@mail+xyz.example isn\'t valid, but <a href="mailto:hello+xyz@mail.example">hello+xyz@mail.example</a> is.</p>',
    },
    {
      text: "a.b-c_d@a.b\n\na.b-c_d@a.b.\n\na.b-c_d@a.b-\n\na.b-c_d@a.b_\n",
      html: '<p><a href="mailto:a.b-c_d@a.b">a.b-c_d@a.b</a></p><p><a href="mailto:a.b-c_d@a.b">a.b-c_d@a.b</a>.</p><p>a.b-c_d@a.b-</p><p>a.b-c_d@a.b_</p>',
    },
  ],
  "disallowed raw html": [
    {
      // All raw HTML is text here, not only what GitHub filters.
      text: "<strong> <title> <style> <em>\n\n<blockquote>\n  <xmp> is disallowed.  <XMP> is also disallowed.\n</blockquote>\n",
    },
  ],
};
