"""The harness itself: what the other browser tests trust."""

from __future__ import annotations

from lab import LabServer, Visit

WIDGET = """
import anywidget, traitlets
class Counter(anywidget.AnyWidget):
    _esm = '''export default { render({ model, el }) {
        const root = el.attachShadow({ mode: "open" });
        root.innerHTML = "<button>add</button><output></output>";
        root.querySelector("button").onclick = () => model.send({ add: 1 });
        const draw = () => { root.querySelector("output").textContent = "count " + model.get("n"); };
        model.on("change:n", draw); draw();
    } }'''
    n = traitlets.Int(0).tag(sync=True)
counter = Counter()
counter.on_msg(lambda _, content, __: setattr(counter, "n", counter.n + content["add"]))
counter
"""


def test_a_widget_answers_a_click_from_inside_its_shadow_root(lab: LabServer, guest: Visit) -> None:
    notebook = guest.open(lab, lab.write("counter.ipynb", WIDGET))
    notebook.execute(0)
    notebook.output(0).get_by_role("button", name="add").click()
    notebook.output(0).get_by_text("count 1").wait_for()


def test_requests_that_would_leave_the_machine_are_blocked_and_kept(lab: LabServer, guest: Visit) -> None:
    notebook = guest.open(
        lab,
        lab.write(
            "remote.ipynb",
            "from IPython.display import HTML, display\n"
            "display(HTML('<img src=\"https://leak.example/x.png\"><b>shown</b>'))",
        ),
    )
    with guest.page.expect_event("requestfailed"):
        notebook.execute(0)
    guest.leave()
    assert set(guest.blocked) == {"https://leak.example/x.png"}
    guest.blocked.clear()


def test_an_interrupt_ends_a_cell(lab: LabServer, guest: Visit) -> None:
    notebook = guest.open(
        lab, lab.write("long.ipynb", "print('begun', flush=True)\nwhile True: pass", "1 + 1")
    )
    notebook.run(0)
    notebook.output(0).get_by_text("begun").wait_for()
    notebook.interrupt()
    notebook.wait_done(0)
    assert notebook.outputs(0)[-1]["ename"] == "KeyboardInterrupt"
