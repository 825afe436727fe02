# SPDX-License-Identifier: Apache-2.0
"""A drill's HTML report as a browser and a screen reader meet it."""
import html.parser

VOID = {"meta"}  # has no end; what SVG needs none for ends itself


class Page(html.parser.HTMLParser):
    """TEXT taken apart: `text` without markup, `tags` as (name, attributes); raises where tags are not nested."""

    def __init__(self, text):
        super().__init__()
        self.text, self.tags, self.open = "", [], []
        self.feed(text)
        self.close()
        if self.open:
            raise AssertionError(f"never closed: {self.open}")

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            raise AssertionError(f"</{tag}> closes nothing, at {self.getpos()}")

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text += data

    def named(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


def check(test, text, report):
    """That TEXT is a whole page of its own about REPORT."""
    page = Page(text)
    for tag, attributes in page.tags:
        test.assertFalse({"src", "href", "onload", "onclick"} & set(attributes), (tag, attributes))
    test.assertFalse({"script", "link", "img", "iframe", "object"} & {tag for tag, _ in page.tags})
    pictures = [one for one in page.named("svg") if "aria-hidden" not in one]
    test.assertEqual(len(pictures), text.count('role="img"><title>'))
    test.assertEqual(len(page.named("caption")), len(page.named("table")))
    for word in (report["title"], report["outcome"], report["id"], *(one["name"] for one in report["deployment"]["gateways"]),
                 *report["proof"]["lost"]):
        test.assertIn(word, page.text)
    return page
