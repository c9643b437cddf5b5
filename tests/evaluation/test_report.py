from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chattts_onnx.errors import OutputError
from chattts_onnx.evaluation.picture import Line, Panel, draw, ticks
from chattts_onnx.evaluation.report import environment, environment_line, table, write_json, write_text


def test_the_header_names_the_versions_that_matter():
    header = environment()
    line = environment_line(header)
    for name in ("onnxruntime", "python", "cores", "date"):
        assert str(header[name]) in line
    json.dumps(header)


def test_a_table_is_markdown_and_lines_up_wide_characters():
    lines = table(["text", "n"], [["你好", 1], ["hello", 22]]).splitlines()
    assert lines[0] == "| text  | n  |"
    assert lines[2] == "| 你好  | 1  |"
    assert lines[3] == "| hello | 22 |"


def test_a_report_goes_to_a_file_or_to_standard_output(tmp_path, capsys):
    write_json({"值": 1}, str(tmp_path / "new" / "report.json"))
    assert json.loads((tmp_path / "new" / "report.json").read_text(encoding="utf-8")) == {"值": 1}
    write_json({"a": 1}, "-")
    assert json.loads(capsys.readouterr().out) == {"a": 1}
    with pytest.raises(OutputError, match="choose another place"):
        write_text(tmp_path / "new" / "report.json" / "below", "text")


def test_a_picture_is_svg_with_every_point_inside_its_panel():
    lines = [Line("int8 <b>", [(1, 10.0), (4, 12.5), (8, 30.0)]), Line("fp32", [(1, 20.0), (8, 90.0)])]
    root = ET.fromstring(draw([Panel("Latency", "batch", "ms", lines), Panel("Rate", "batch", "1/s", lines[:1])], "&"))
    width, height = float(root.get("width")), float(root.get("height"))
    space = "{http://www.w3.org/2000/svg}"
    drawn = root.findall(f".//{space}polyline")
    assert [len(line.get("points").split()) for line in drawn] == [3, 2, 3]
    for line in drawn:
        for point in line.get("points").split():
            x, y = map(float, point.split(","))
            assert 0 < x < width / 2
            assert 0 < y < height
    assert "int8 <b>" in {text.text for text in root.iter(f"{space}text")}


@given(st.floats(min_value=1e-6, max_value=1e9))
def test_ticks_reach_the_top_in_few_round_steps(top):
    marks = ticks(top)
    assert marks[0] == 0
    assert marks[-1] >= top * 0.998
    assert 2 <= len(marks) <= 7
