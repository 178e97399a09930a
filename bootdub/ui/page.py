"""The page's layout: what is where, and which action follows which event."""

from __future__ import annotations

from typing import Any

import gradio as gr

from bootdub.ui.actions import PageActions
from common.errors import UserError
from stage2_dubber.dub.length.options import Length
from stage2_dubber.dub.presets.names import AUTO_PRESET, Preset

_LENGTHS = [
    ("Keep the video's length", Length.silence.value),
    ("Cut off what is longer", Length.cut_off.value),
    ("Play forward and back", Length.bounce.value),
    ("Play again and again", Length.loop.value),
    ("Play slower or faster", Length.remap.value),
]
_PRESETS = [("Automatic", AUTO_PRESET), *((preset.value.capitalize(), preset.value) for preset in Preset)]
_FACES = ["auto", "largest"]
_SECONDS = 1.0
THEME = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])  # none of another host


def build_page(actions: PageActions) -> gr.Blocks:
    """The page."""
    with gr.Blocks(title="BootDub", analytics_enabled=False) as page:
        gr.Markdown("# BootDub\nA video whose lips follow other speech. Dub only people who agreed to it.")
        job = gr.State(None)
        with gr.Row():
            with gr.Column():
                video = gr.Video(label="Video", sources=["upload"], elem_id="video")
                audio = gr.Audio(
                    label="Voice",
                    sources=["upload", "microphone"],
                    type="filepath",
                    buttons=["download"],  # not the one that sends it to another host
                    elem_id="voice",
                )
                show = gr.Button("Show faces", elem_id="show-faces")
                sheet = gr.Image(
                    show_label=False,
                    visible=False,
                    interactive=False,
                    buttons=["fullscreen"],
                    elem_id="faces",
                )
                face = gr.Radio(_FACES, value=_FACES[0], label="Whose mouth", elem_id="face")
                with gr.Row():
                    length = gr.Dropdown(
                        _LENGTHS, value=_LENGTHS[0][1], label="Where lengths differ", min_width=240
                    )
                    preset = gr.Dropdown(_PRESETS, value=AUTO_PRESET, label="Quality", min_width=240)
                with gr.Row():
                    dub = gr.Button("Dub", variant="primary", elem_id="dub")
                    cancel = gr.Button("Cancel", elem_id="cancel")
            with gr.Column():
                status = gr.Textbox("", label="State", interactive=False, max_lines=12, elem_id="state")
                result = gr.Video(label="Dub", interactive=False, visible=False, elem_id="result")
                download = gr.DownloadButton("Download", visible=False, elem_id="download")
                moment = gr.Slider(0, 1, 0, step=1, label="Frame", visible=False, elem_id="moment")
                pair = gr.ImageSlider(
                    label="Source and dub", visible=False, interactive=False, max_height=800, elem_id="pair"
                )
                contact = gr.Image(
                    show_label=False,
                    visible=False,
                    interactive=False,
                    buttons=["fullscreen"],
                    elem_id="sheet",
                )
        gr.Markdown("## Jobs")
        history = gr.Dataframe(
            headers=["asked", "video", "state", "job"],
            value=actions.history,
            interactive=False,
            elem_id="history",
        )
        shown = [result, download, moment, pair, contact]

        def look(id: str | None) -> list[Any]:
            """State, results, timer, history."""
            if not id:
                return [gr.skip()] * (len(shown) + 3)
            finished = actions.finished(id)
            running = not actions.store.get(id).state.ended
            said = actions.said(id)
            if finished is None:
                return [said, *(gr.update(visible=False) for _ in shown), gr.Timer(active=running), gr.skip()]
            middle = finished.frames // 2
            return [
                "\n".join((said, *finished.warnings)),
                gr.update(value=str(finished.video), visible=True),
                gr.update(value=str(finished.video), visible=True),
                gr.update(maximum=finished.frames - 1, value=middle, visible=True),
                gr.update(value=actions.compared(id, middle), visible=True),
                gr.update(value=None if finished.sheet is None else str(finished.sheet), visible=True),
                gr.Timer(active=False),
                actions.history(),
            ]

        timer = gr.Timer(_SECONDS, active=False)
        seen = [status, *shown, timer, history]

        def find(file: str | None) -> list[Any]:
            path, names = _told(actions.faces, file)
            return [gr.update(value=str(path), visible=True), gr.update(choices=names, value=names[0])]

        def ask(*given: Any) -> list[Any]:
            return [_told(actions.ask, *given), gr.Timer(active=True), actions.history()]

        def choose(event: gr.SelectData) -> str:
            return str(event.row_value[-1])

        show.click(find, [video], [sheet, face], show_progress_on=show)
        dub.click(
            ask, [video, audio, face, length, preset], [job, timer, history], show_progress="hidden"
        ).then(look, [job], seen)
        cancel.click(actions.cancel, [job]).then(look, [job], seen)
        timer.tick(look, [job], seen, show_progress="hidden")
        moment.release(lambda id, frame: actions.compared(id, int(frame)), [job, moment], [pair])
        history.select(choose, None, [job]).then(look, [job], seen)
        page.load(actions.history, None, [history])
    return page


def _told(action: Any, *given: Any) -> Any:
    """The action's value; what the user has to mend is shown on the page."""
    try:
        return action(*given)
    except UserError as error:
        raise gr.Error(str(error), print_exception=False) from error
