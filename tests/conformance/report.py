def page(r): return summary(r)
def summary(results):
    from collections import Counter
    c=Counter(); out=[]
    for r in results:
        c[r.outcome]+=1
        for k,f in r.forms.items(): c[k,f.verdict]+=1
        for k,f in r.beside.items(): c[k,f.verdict]+=1
        c['merged']+=r.merged; c['dev']+=bool(r.deviates)
    return "\n".join(f"{k} {c[k]}" for k in sorted(c,key=str))
