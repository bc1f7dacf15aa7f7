"""Reads exported files as other people's programs do.

stdin: {"pdf": base64} or {"csv": base64}.
stdout: of a PDF its metadata, and of each page its text and where there is ink: the first and last column that has any,
as a share of the width, and how many dots are in colour. Of a CSV its rows, by Python's own reader.
"""

import base64
import csv
import io
import json
import sys

import pypdfium2


def page(page):
    bitmap = page.render(scale=1.5)
    width, height, channels = bitmap.width, bitmap.height, bitmap.n_channels
    dots = bytes(bitmap.buffer)
    left, right, coloured = width, 0, 0
    for row in range(height):
        line = dots[row * bitmap.stride : row * bitmap.stride + width * channels]
        if min(line) == 255:
            continue
        for column in range(width):
            dot = line[column * channels : column * channels + 3]
            if min(dot) < 200:
                left, right = min(left, column), max(right, column)
            coloured += max(dot) - min(dot) > 60
    text = page.get_textpage().get_text_bounded()
    return {"text": text, "left": left / width, "right": right / width, "coloured": coloured, "width": page.get_width()}


def answer(given):
    if "csv" in given:
        text = base64.b64decode(given["csv"]).decode("utf-8-sig")
        return list(csv.DictReader(io.StringIO(text, newline="")))
    document = pypdfium2.PdfDocument(base64.b64decode(given["pdf"]))
    return {"metadata": document.get_metadata_dict(), "pages": [page(one) for one in document]}


json.dump(answer(json.load(sys.stdin)), sys.stdout)
