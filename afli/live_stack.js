// One of many frames is seen: that at the slider, in the stack that is chosen. Called with the id of the figure.
key => {
  const figure = document.getElementById(key);
  const slider = figure.querySelector("input[type=range]");
  const choices = [...figure.querySelectorAll("input[type=radio]")];
  const stacks = [...figure.querySelectorAll(".stack")];
  const only = (elements, index) =>
    elements.forEach((element, n) => element.setAttribute("display", n === index ? "inline" : "none"));
  const show = () => {
    const chosen = Math.max(0, choices.findIndex(choice => choice.checked));
    const frames = [...stacks[chosen].querySelectorAll(".frame")];
    only(stacks, chosen);
    only(frames, slider.valueAsNumber);
    const {value, readout} = frames[slider.valueAsNumber].dataset;
    figure.querySelector("output").textContent = value;
    slider.setAttribute("aria-valuetext", value);
    const ending = figure.querySelector(".readout");
    if (ending) ending.textContent = readout;
  };
  for (const control of [slider, ...choices]) {
    control.disabled = false;
    control.addEventListener("input", show);
  }
  show();
}
