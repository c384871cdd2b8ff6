/** Run-length codes and enlargements, off the main thread and apart from the decoder, which may be busy. */
import type { BoxedMask, Frame } from "../masks/boxed";
import { boxedFromRuns, rleToRuns, runsArea, runsOf, runsToRle } from "../masks/rle";
import { withoutSpecks } from "../masks/specks";
import { Arrivals } from "./carrying";
import { upscale } from "./geometry";
import type { MaskAnswer, MaskRequest, ToWorker } from "./protocol";

const arrivals = new Arrivals();

function encode(id: number, mask: BoxedMask, frame: Frame): MaskAnswer {
  const runs = runsOf(mask, frame);
  return { id, kind: "encoded", encoded: { rle: runsToRle(runs, frame), runs, area: runsArea(runs) } };
}

function answerTo(request: MaskRequest): MaskAnswer {
  const { id } = request;
  switch (request.kind) {
    case "encode":
      return encode(id, arrivals.claim(request.mask), request.frame);
    case "encode-logits":
      return encode(id, upscale(request.logits, request.frame, request.model), request.frame);
    case "decode":
      return { id, kind: "decoded", runs: request.rles.map(rleToRuns) };
    case "unpack":
      return { id, kind: "unpacked", mask: boxedFromRuns(rleToRuns(request.rle), request.rle.size[0]) };
    case "clean":
      return { id, kind: "cleaned", mask: withoutSpecks(arrivals.claim(request.mask)) };
    case "upscale":
      return { id, kind: "unpacked", mask: upscale(request.logits, request.frame, request.model) };
  }
}

/** What goes to the page without being copied. */
function buffersOf(answer: MaskAnswer): Transferable[] {
  switch (answer.kind) {
    case "encoded":
      return [answer.encoded.runs.buffer];
    case "decoded":
      return answer.runs.map((one) => one.buffer);
    case "unpacked":
    case "cleaned":
      return answer.mask ? [answer.mask.data.buffer] : [];
    default:
      return [];
  }
}

addEventListener("message", (event: MessageEvent<ToWorker<MaskRequest>>) => {
  const request = event.data;
  if (request.kind === "strip") {
    arrivals.take(request);
    return;
  }
  try {
    const answer = answerTo(request);
    postMessage(answer, { transfer: buffersOf(answer) });
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    postMessage({ id: request.id, kind: "failed", message } satisfies MaskAnswer);
  }
});
