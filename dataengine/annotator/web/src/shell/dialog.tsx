import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";

/** A native modal dialog: the browser keeps the focus inside and gives it back. */
export function Dialog(props: { title: string; close?: () => void; wide?: boolean; children: ComponentChildren }) {
  const box = useRef<HTMLDialogElement>(null);
  useLayoutEffect(() => {
    box.current?.showModal();
  }, []);
  return (
    <dialog
      ref={box}
      class={props.wide ? "dialog wide" : "dialog"}
      aria-label={props.title}
      onCancel={(event) => {
        event.preventDefault();
        props.close?.();
      }}
      onKeyDown={(event) => event.stopPropagation()}
    >
      <header>
        <h2>{props.title}</h2>
        {props.close && (
          <button type="button" class="quiet icon" aria-label="Close" onClick={props.close}>
            ×
          </button>
        )}
      </header>
      {props.children}
    </dialog>
  );
}
