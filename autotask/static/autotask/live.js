/* Refreshes parts of a page while the switch "Live" is on: never in a hidden tab, and not while the user is busy there. */
"use strict";
{
    const EVERY = 5000;
    const LONGEST = 60000;
    const KEY = "autotask.live";

    const ready = (act) =>
        document.readyState === "loading" ? document.addEventListener("DOMContentLoaded", act) : act();

    /** The user is busy in a part: has the focus, a selection, a chosen row or typed words there. */
    const isBusy = (part) => {
        const selection = document.getSelection();
        return (
            part.contains(document.activeElement) ||
            part.querySelector("input:checked") !== null ||
            [...part.querySelectorAll("input[type=text]")].some((field) => field.value !== field.defaultValue) ||
            (selection && !selection.isCollapsed && part.contains(selection.anchorNode))
        );
    };

    /** The checkboxes of rows that stay are kept, since scripts of the admin listen to them. */
    const keepCheckboxes = (before, after) => {
        const known = new Map();
        for (const box of before.querySelectorAll("input.action-select")) {
            known.set(box.value, box.closest("td"));
        }
        for (const box of after.querySelectorAll("input.action-select")) {
            if (known.has(box.value)) {
                box.closest("td").replaceWith(known.get(box.value));
            }
        }
    };

    /** What the user has opened or closed stays so. */
    const keepDetails = (before, after) => {
        for (const details of before.querySelectorAll("details[id]")) {
            const same = after.querySelector(`#${details.id}`);
            if (same) {
                same.open = details.open;
            }
        }
    };

    const swap = (html, selectors) => {
        const fresh = new DOMParser().parseFromString(html, "text/html");
        for (const selector of selectors) {
            const before = document.querySelector(selector);
            const after = fresh.querySelector(selector);
            if (before && after && !isBusy(before)) {
                keepCheckboxes(before, after);
                keepDetails(before, after);
                // The element itself stays: scripts of the admin listen to it.
                before.replaceChildren(...after.childNodes);
            }
        }
    };

    ready(() => {
        const line = document.getElementById("autotask-live-switch");
        if (!line || !window.fetch) {
            return;
        }
        const box = document.getElementById("autotask-live-on");
        const said = document.getElementById("autotask-live-at");
        const selectors = line.dataset.regions.split(",");
        let pass = ""; // Whoever has one is not looked up again for some seconds.
        let wait = EVERY;
        let timer = null;

        const plan = () => {
            clearTimeout(timer);
            timer = box.checked && !document.hidden ? setTimeout(refresh, wait) : null;
        };

        const refresh = async () => {
            if (selectors.some((selector) => {
                const part = document.querySelector(selector);
                return part && isBusy(part);
            })) {
                return plan();
            }
            try {
                const headers = {"X-Autotask-Live": "1", ...(pass && {"X-Autotask-Pass": pass})};
                const response = await fetch(location.href, {headers, redirect: "error"});
                if (!response.ok) {
                    throw new Error(response.status);
                }
                pass = response.headers.get("X-Autotask-Pass") || pass;
                swap(await response.text(), selectors);
                wait = EVERY;
                said.textContent = line.dataset.on + " " + new Date().toLocaleTimeString();
            } catch {
                wait = Math.min(2 * wait, LONGEST);
                said.textContent = line.dataset.off;
            }
            plan();
        };

        let remembered = null;
        try {
            remembered = localStorage.getItem(KEY);
        } catch {
            // Storage is switched off: the switch is on until it is used.
        }
        box.checked = remembered !== "off";
        line.hidden = false;
        box.addEventListener("change", () => {
            try {
                localStorage.setItem(KEY, box.checked ? "on" : "off");
            } catch {
                // It is not remembered, then.
            }
            plan();
        });
        document.addEventListener("visibilitychange", plan);
        plan();
    });
}
