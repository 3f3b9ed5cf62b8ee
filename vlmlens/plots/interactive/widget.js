// In a notebook: anywidget calls `render` with the widget's model and an element of the page.

async function render({ model, el }) {
  const data = model.get("data");
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const root = make("div");
  el.append(root);
  themed(root);
  let ours = false;
  const view = await explore(root, JSON.parse(model.get("meta")), bytes, {
    chosen(selection) {
      ours = true;
      model.set("chosen", selection);
      model.save_changes();
      ours = false;
    },
  });
  const follow = () => {
    if (!ours && model.get("chosen")) view.restore(model.get("chosen"));
  };
  model.on("change:chosen", follow);
  if (!model.get("chosen")) {
    model.set("chosen", view.selection());
    model.save_changes();
  }
  return () => {
    view.stop();
    model.off("change:chosen", follow);
  };
}

// JupyterLab, VS Code and Colab say in their own ways that they are dark.
function themed(root) {
  const { body, documentElement } = document;
  const dark = body.dataset.jpThemeLight === "false" || body.classList.contains("vscode-dark") || documentElement.getAttribute("theme") === "dark";
  const light = body.dataset.jpThemeLight === "true" || body.classList.contains("vscode-light");
  if (dark || light) root.dataset.theme = dark ? "dark" : "light";
}

export default { render };
