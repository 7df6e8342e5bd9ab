/**
 * A panel as a widget in a notebook: its state comes as a trait of the model.
 */

import { KernelLink, frame } from "./kernel_link.js";
import { StateSource } from "./state_source.js";

/**
 * Make what anywidget takes as a module's default.
 * @param {(el: HTMLElement, source: StateSource) => (() => void)} renderPanel
 * @returns {() => {initialize: Function, render: Function}} The views of one model share its state.
 */
export function panelWidget(renderPanel) {
  return () => {
    const source = new StateSource();
    const link = new KernelLink();
    return {
      initialize({ model }) {
        const take = () => {
          link.heard();
          source.set(model.get("state"), model.get("at"));
        };
        // Set with every state, and then by itself from time to time: the kernel's sign of life.
        model.on("change:at", take);
        model.on("msg:custom", () => link.heard());
        // A saved or older time says nothing of the relay's clock.
        source.set(model.get("state"));
        link.open(model);
        return () => link.close();
      },
      render({ model, el }) {
        return frame(el, model, link, (place) => renderPanel(place, source));
      },
    };
  };
}
