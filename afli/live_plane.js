// The plane of the two variances, its point moved by hand or by two sliders. Called with the id of the figure and its
// data. Of each activation these are Chebyshev series in x, the logarithm of a variance q brought to [-1, 1]:
// square, of E phi(sqrt(q) Z)^2 / q; slope2, of E phi'(sqrt(q) Z)^2; map, of E phi(U1) phi(U2) / q, one for each rho.
(key, data) => {
  const figure = document.getElementById(key);
  const [plane, map] = figure.querySelectorAll("svg");
  const [weights, biases] = figure.querySelectorAll("input[type=range]");
  const [weightShown, biasShown] = figure.querySelectorAll("output");
  const choices = [...figure.querySelectorAll("input[type=radio]")];
  const [left, top, right, bottom] = data.box;
  const [lowLog, highLog] = data.variances.map(Math.log);

  const variance = x => Math.exp((lowLog + highLog + (highLog - lowLog) * x) / 2);
  const chebyshev = (series, x) => {  // Clenshaw
    let one = 0, two = 0;
    for (let k = series.length - 1; k > 0; k--) [one, two] = [2 * x * one - two + series[k], one];
    return x * one - two + series[0];
  };

  // The x of q*, where V(q) / q falls through 1; null where it never does.
  const fixedPoint = (phi, w, b) => {
    const above = x => w * chebyshev(phi.square, x) + b / variance(x) > 1;
    let low = -1, high = 1;
    if (above(high)) return null;
    for (let halving = 0; halving < 55; halving++) {
      const middle = (low + high) / 2;
      if (above(middle)) low = middle; else high = middle;
    }
    return high;
  };

  const phase = slope => slope.toFixed(4) === "1.0000" ? "the edge of chaos"
    : slope > 1 ? "chaos: a correlation of 1 repels" : "order: all correlations end at 1";

  const show = () => {
    const phi = data.activations[Math.max(0, choices.findIndex(choice => choice.checked))];
    const w = weights.valueAsNumber, b = biases.valueAsNumber, x = fixedPoint(phi, w, b);
    const [lowest, highest] = data.weights;
    const point = plane.querySelector(".point");
    point.setAttribute("cx", left + (right - left) * (w - lowest) / (highest - lowest));
    point.setAttribute("cy", bottom - (bottom - top) * b / data.biases[1]);
    plane.querySelector(".edge").setAttribute("d", phi.edge);
    plane.querySelector(".right").textContent = phi.right;
    for (const [slider, shown, decimals] of [[weights, weightShown, 2], [biases, biasShown, 3]]) {
      shown.textContent = slider.valueAsNumber.toFixed(decimals);
      slider.setAttribute("aria-valuetext", shown.textContent);
    }
    let points = [], said = "no fixed point: the variance grows from layer to layer";
    if (x !== null) {
      const q = variance(x), slope = w * chebyshev(phi.slope2, x);
      points = data.rho.map((rho, n) => [rho, w * chebyshev(phi.map[n], x) + b / q]);
      said = `q* = ${q.toFixed(4)}, χ₁ = ${slope.toFixed(4)}, ${phase(slope)}`;
    }
    map.querySelector(".curve").setAttribute("d", points.map(([rho, up], n) => (n ? "L" : "M") +
      `${(left + (right - left) * (rho + 1) / 2).toFixed(1)} ${(bottom - (bottom - top) * (up + 1) / 2).toFixed(1)}`
    ).join(""));
    figure.querySelector(".caption").textContent = `${phi.name}: ${said}`;
  };

  const move = event => {  // the sliders round to their steps and stop at their ends
    const place = plane.getBoundingClientRect(), unit = plane.viewBox.baseVal.width / place.width;
    const across = ((event.clientX - place.left) * unit - left) / (right - left);
    const up = (bottom - (event.clientY - place.top) * unit) / (bottom - top);
    weights.value = data.weights[0] + across * (data.weights[1] - data.weights[0]);
    biases.value = up * data.biases[1];
    show();
  };
  plane.addEventListener("pointerdown", event => {
    event.preventDefault();
    plane.setPointerCapture(event.pointerId);
    move(event);
  });
  plane.addEventListener("pointermove", event => { if (plane.hasPointerCapture(event.pointerId)) move(event); });

  for (const control of [weights, biases, ...choices]) {
    control.disabled = false;
    control.addEventListener("input", show);
  }
  show();
}
