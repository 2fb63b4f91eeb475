// What the theme and its copy button say in English alone, in the Korean book.
"use strict";
const inKorean = {
  "Main": "주 메뉴",
  "Page": "이 페이지의 차례",
  "Toggle primary sidebar": "사이드바 여닫기",
  "Toggle secondary sidebar": "이 페이지의 차례 여닫기",
};
for (const name of ["aria-label", "title", "data-bs-title", "data-bs-original-title"]) {
  for (const element of document.querySelectorAll(`[${name}]`)) {
    const said = inKorean[element.getAttribute(name)];
    if (said) element.setAttribute(name, said);
  }
}
/* global messages, locale:writable, iconCopy:writable */
if (typeof messages !== "undefined") { // sphinx-copybutton's own, before it makes its buttons
  messages.ko = { copy: "복사", copy_to_clipboard: "클립보드에 복사", copy_success: "복사됨", copy_failure: "복사하지 못함" };
  iconCopy = iconCopy.replace(messages[locale].copy_to_clipboard, messages.ko.copy_to_clipboard);
  locale = "ko";
}
