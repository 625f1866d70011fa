#!/usr/bin/env python3
"""Puts the tables of docs/PERFORMANCE.md between its two marker lines, from the JSON files that the benchmarks wrote.

    report.py BUILD/bench docs/PERFORMANCE.md

What stands outside the markers is written by hand and kept."""
import json
import os
import pathlib
import platform
import sys

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def figure(value):
    if value is None:
        return ""
    text = f"{value:.3g}"
    return f"{float(text):,.0f}" if abs(value) >= 1000 else text


def goal(row):
    if "goal" not in row:
        return ""
    sign = "≥" if row["more_is_better"] else "≤"
    return f"{sign} {figure(row['goal'])}" + (f" {row['unit']}" if row["goal_absolute"] else "×")


def samples(value):
    if value is None:
        return ""
    return f"{figure(value['median'])} ({figure(value['min'])} to {figure(value['max'])})"


def table(bench):
    lines = [f"### {bench['bench']}", "", "| goal no. | what | unit | sorex | rival | ratio | goal | |", "|---|---|---|---|---|---|---|---|"]
    for row in bench["rows"]:
        rival = samples(row["rival"]) if "rival" in row else figure(row.get("rival_value"))
        if "rival_name" in row:
            rival = f"{rival} — {row['rival_name']}" if rival else row["rival_name"]
        verdict = "" if "reached" not in row else "reached" if row["reached"] else "**not reached**"
        cells = [str(row["target"] or ""), row["what"], row["unit"], samples(row.get("sorex")), rival,
                 f"{figure(row['ratio'])}×" if "ratio" in row else "", goal(row), verdict]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def machine():
    cpu = ""
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    return f"{os.cpu_count()} × {cpu or platform.machine()}, Linux {platform.release().split('-')[0]}"


def main():
    source, target = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    files = sorted(source.glob("*.json"))
    if not files:
        sys.exit(f"{source}: no benchmark has written anything")
    lines = [BEGIN, "", f"Machine: {machine()}. Medians, with the lowest and the highest round in brackets.", ""]
    for file in files:
        lines += table(json.loads(file.read_text())) + [""]
    lines.append(END)
    text = target.read_text() if target.exists() else f"# Performance\n\n{BEGIN}\n{END}\n"
    if BEGIN not in text or END not in text:
        sys.exit(f"{target}: the marker lines are missing")
    head, tail = text.split(BEGIN, 1)[0], text.split(END, 1)[1]
    target.write_text(head + "\n".join(lines) + tail)


if __name__ == "__main__":
    main()
