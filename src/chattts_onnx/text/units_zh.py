"""What Mandarin calls units, currencies and the things that are counted.

The tables are text, several symbols to one reading, because that is how they are checked by eye.
"""

from __future__ import annotations

from typing import Dict


def table(text: str) -> Dict[str, str]:
    """Symbol to reading, from entries ``symbol symbol = reading`` separated by semicolons."""
    entries: Dict[str, str] = {}
    for entry in text.split(";"):
        symbols, _, reading = entry.partition(" = ")
        for symbol in symbols.split():
            entries[symbol] = reading.strip()
    return entries


UNITS = table("""
km/h kph = 每小时|公里; m/s = 每秒|米; km/s = 每秒|公里; mph = 每小时|英里; m/s² = 每二次方秒|米;
Mbps = 兆比特每秒; Kbps kbps = 千比特每秒; Gbps = 吉比特每秒; MB/s = 每秒|兆; KB/s kB/s = 每秒|千字节;
GB/s = 每秒|吉字节; fps = 帧每秒; rpm r/min = 转每分钟; mg/L mg/l = 毫克每升; g/L = 克每升; mmol/L = 毫摩尔每升;
mg/kg = 毫克每千克; g/cm³ = 克每立方厘米; kg/m³ = 千克每立方米; μg/m³ ug/m3 = 微克每立方米; L/100km = 升每百公里;
kWh kwh = 千瓦时; mAh = 毫安时; Ah = 安时; kW kw = 千瓦; MW = 兆瓦; GW = 吉瓦; mW = 毫瓦; km² km2 = 平方千米;
m² m2 ㎡ = 平方米; cm² cm2 = 平方厘米; mm² = 平方毫米; m³ m3 = 立方米; cm³ cm3 = 立方厘米; dm³ = 立方分米;
mm³ = 立方毫米; hm² ha = 公顷; kg Kg KG = 千克; mg = 毫克; μg µg ug = 微克; g = 克; t = 吨; lb lbs = 磅;
oz = 盎司; km Km KM = 公里; cm CM = 厘米; mm = 毫米; dm = 分米; μm µm um = 微米; nm = 纳米; m = 米; ft = 英尺;
inch in = 英寸; mi = 英里; yd = 码; ml mL ML cc = 毫升; L l = 升; dl = 分升; ms = 毫秒; μs µs us = 微秒;
ns = 纳秒; s sec = 秒; min mins = 分钟; h hr hrs = 小时; Hz hz = 赫兹; kHz KHz khz = 千赫兹; MHz = 兆赫兹;
GHz = 吉赫兹; dB db = 分贝; V = 伏; kV KV = 千伏; mV = 毫伏; mA = 毫安; W = 瓦; Ω = 欧姆; kΩ = 千欧; MΩ = 兆欧;
N = 牛; J = 焦耳; kJ = 千焦; kcal = 千卡; cal = 卡; Pa = 帕; kPa = 千帕; hPa = 百帕; MPa = 兆帕; mmHg = 毫米汞柱;
lm = 流明; lx = 勒克斯; cd = 坎德拉; mol = 摩尔; KB kB = 千字节; MB = 兆字节; GB = 吉字节; TB = 太字节;
PB = 拍字节; Mb = 兆比特; Gb = 吉比特; bit = 比特; px = 像素; ppm = 百万分之一; °C ℃ = 摄氏度; °F = 华氏度;
° = 度; ′ = 分
""")
"""Symbol to reading; ``a|b``: a before the number, b after it."""

CURRENCIES = table("""
¥ ￥ CN¥ RMB CNY = 元; JP¥ JPY 円 = 日元; $ US$ USD U$ = 美元; A$ AU$ AUD = 澳元; C$ CA$ CAD = 加元;
HK$ HKD = 港元; NT$ TWD = 新台币; S$ SGD = 新加坡元; NZ$ NZD = 新西兰元; € EUR = 欧元; £ GBP = 英镑;
₩ KRW = 韩元; ₽ RUB = 卢布; ₹ INR = 卢比; ฿ THB = 泰铢; CHF = 瑞士法郎; ₫ VND = 越南盾; MOP = 澳门元;
MYR = 马来西亚林吉特
""")
"""Sign or code to reading."""

# 两 before what is counted, 二 before the names of things (二月, 二号, 二楼, 二等).
TWO_COUNTED = (
    "个|只|条|张|本|件|位名|位|名|台|辆|次|天|周|星期|年(?!级|段)|小时|分钟|秒|点(?!\\d)|块|元|角|米|公里|千米|"
    "厘米|毫米|英里|千克|公斤|斤|吨|克(?!拉)|升|毫升|"
    "倍|岁|人|种|家|项|场|份|颗|棵|株|套|部|杯|瓶|碗|盘|段|句|字|篇|首|封|把|双|对|头|匹|架|艘|座|间|所|片|道|"
    "扇|口|根|支|枝|枚|粒|滴|朵|束|串|群|批|"
    "组|排|层|届|集|步|遍|趟|回|顿|阵|伙|笔|盒|箱|袋|包|桶|罐|副|幅|顶|盏|节课|门课|门|页|行|列|册|万|亿|千|"
    "百万|美元|欧元|英镑|港元|日元|"
    "个月|季度|世纪|代人|旁|侧|边|端|国|党|地|校|队|方|者|性|成(?!本|立|功)"
)

# Words that announce a number which is read digit by digit.
FOLLOWS_TELEPHONE = "拨打|拨|致电|热线|电话|手机|来电|呼叫|客服|传真|座机|打"
FOLLOWS_IDENTIFIER = (
    "尾号|卡号|编号|单号|账号|帐号|学号|工号|号码|密码|口令|验证码|邮编|邮政编码|房间|房号|车牌|车次|"
    "航班|代码|证号|序列号|微信|QQ群|QQ|qq|群号|工单|订单号?|ID|id"
)
